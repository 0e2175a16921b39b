export const KINDS = ['rules', 'combination', 'sql'] as const;
export const STATES = ['active', 'paused'] as const;

/** What the address of the page holds beside its path. */
export interface SegmentsSearch {
  q?: string;
  kind?: (typeof KINDS)[number];
  state?: (typeof STATES)[number];
}

const one = <T extends string>(values: readonly T[], value: unknown): T | undefined => values.find((v) => v === value);

export function segmentsSearch(search: Record<string, unknown>): SegmentsSearch {
  const [kind, state] = [one(KINDS, search.kind), one(STATES, search.state)];
  return {
    ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
    ...(kind ? { kind } : {}),
    ...(state ? { state } : {}),
  };
}
