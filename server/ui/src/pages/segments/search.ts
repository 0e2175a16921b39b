/** What the address of the page holds beside its path. */
export interface SegmentsSearch {
  q?: string;
}

export const segmentsSearch = (search: Record<string, unknown>): SegmentsSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
