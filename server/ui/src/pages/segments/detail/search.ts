export const TABS = ['overview', 'members', 'plan', 'versions'] as const;
export type Tab = (typeof TABS)[number];

/** What the address of the page holds beside its path. */
export interface DetailSearch {
  tab?: Tab;
  /** How ids of members begin. */
  q?: string;
}

export const detailSearch = (search: Record<string, unknown>): DetailSearch => {
  const tab = TABS.find((t) => t === search.tab);
  return {
    ...(tab && tab !== 'overview' ? { tab } : {}),
    ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
  };
};
