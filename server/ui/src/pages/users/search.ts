/** What the address of the page holds beside its path. */
export interface UsersSearch {
  q?: string;
}

export const usersSearch = (search: Record<string, unknown>): UsersSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
