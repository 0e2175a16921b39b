import type { Segment } from '../../api';
import type { SegmentsSearch } from './search';

export type Kind = NonNullable<SegmentsSearch['kind']>;

/** How a segment was written. */
export function kindOf({ type }: Pick<Segment, 'type'>): Kind {
  if (type === 'INDEPENDENT') return 'rules';
  return type === 'DERIVED' ? 'combination' : 'sql';
}

export const KIND_LABELS: Record<Kind, string> = { rules: 'Rules', combination: 'Combination', sql: 'SQL' };

/** The same as the API filters by it. */
export const KIND_TYPES = { rules: 'INDEPENDENT', combination: 'DERIVED', sql: 'SQL' } as const satisfies Record<Kind, string>;
