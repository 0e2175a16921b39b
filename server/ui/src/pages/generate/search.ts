/** What the address of the page holds beside its path. */
export interface GenerateSearch {
  q?: string;
}

export const generateSearch = (search: Record<string, unknown>): GenerateSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
