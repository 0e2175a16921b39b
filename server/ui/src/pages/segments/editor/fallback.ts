// The query of rules, for services that do not check segments yet.
import type { SegmentInput } from '../../../api';

const SIGNS: Record<string, string> = { GT: '>', GTE: '>=', LT: '<', LTE: '<=', EQ: '=', NEQ: '<>' };
const TYPES: Record<string, string> = { orders: 'purchase', clicks: 'view', views: 'view', installs: 'install', addToCart: 'add_to_cart' };

export function queryOfRules({ type, rules = [], windowMinutes, dependencies = [] }: SegmentInput): string {
  if (type === 'DERIVED') return `SELECT user_id, value FROM "${dependencies?.[0]?.independentSegmentId ?? ''}"`;
  const types = [...new Set((rules ?? []).map((r) => `'${TYPES[r.eventType] ?? r.eventType}'`))];
  const aggregates = (rules ?? []).map((r) => {
    const filter = types.length > 1 ? ` FILTER (WHERE event_type = '${TYPES[r.eventType] ?? r.eventType}')` : '';
    return r.attribute === 'count' ? `count(*)${filter}` : `coalesce(sum(value)${filter}, 0)`;
  });
  return [
    `SELECT user_id, ${aggregates[0]} AS value`,
    `FROM TUMBLE(events, event_time, INTERVAL '${windowMinutes} minutes')`,
    types.length > 1 ? `WHERE event_type IN (${types.join(', ')})` : `WHERE event_type = ${types[0]}`,
    'GROUP BY user_id, window_start, window_end',
    `HAVING ${(rules ?? []).map((r, i) => `${aggregates[i]} ${SIGNS[r.operator]} ${r.value}`).join(' AND ')}`,
  ].join('\n');
}
