/** What the address of the page holds beside its path. */
export interface ExplainSearch {
  q?: string;
}

export const explainSearch = (search: Record<string, unknown>): ExplainSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
