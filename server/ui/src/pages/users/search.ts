/** What the address of the page holds beside its path. */
export interface UsersSearch {
  /** The segment that is explained. */
  segment?: string;
}

export const usersSearch = (search: Record<string, unknown>): UsersSearch => ({
  ...(typeof search.segment === 'string' && search.segment !== '' ? { segment: search.segment } : {}),
});
