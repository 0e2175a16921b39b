/** What the address of the page holds beside its path. */
export interface DetailSearch {
  q?: string;
}

export const detailSearch = (search: Record<string, unknown>): DetailSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
