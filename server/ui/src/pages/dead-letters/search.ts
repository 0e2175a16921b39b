/** What the address of the page holds beside its path. */
export interface DeadLettersSearch {
  q?: string;
}

export const deadLettersSearch = (search: Record<string, unknown>): DeadLettersSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
