// Segments in words.

export interface RuleWords {
  eventType: string;
  attribute: string;
  operator: string;
  value: number | string;
  windowMinutes?: number | null;
}

export const OPERATORS: Record<string, string> = { GT: 'more than', GTE: 'at least', LT: 'less than', LTE: 'at most', EQ: 'exactly', NEQ: 'not' };

const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 6 });

/** `5 minutes`, `2 hours`, `1 day` */
export function minutesInWords(minutes: number): string {
  const [n, unit] = minutes >= 1440 && minutes % 1440 === 0 ? [minutes / 1440, 'day'] : minutes >= 60 && minutes % 60 === 0 ? [minutes / 60, 'hour'] : [minutes, 'minute'];
  return `${plain.format(n)} ${unit}${n === 1 ? '' : 's'}`;
}

/** `purchase values that sum to more than 500`, `at least 3 view events` */
export function ruleInWords({ eventType, attribute, operator, value, windowMinutes }: RuleWords): string {
  const number = typeof value === 'number' ? plain.format(value) : value;
  const compared = `${OPERATORS[operator] ?? operator} ${number}`;
  const what = attribute === 'count' ? `${compared} ${eventType} event${Number(value) === 1 ? '' : 's'}` : `${eventType} values that sum to ${compared}`;
  return windowMinutes ? `${what} within ${minutesInWords(windowMinutes)}` : what;
}

/** A sentence for rules that must all hold. */
export function rulesInWords(rules: readonly RuleWords[], windowMinutes: number): string {
  const own = rules.map((r) => r.windowMinutes ?? windowMinutes);
  const same = own.every((minutes) => minutes === own[0]);
  const parts = rules.map((r, i) => ruleInWords({ ...r, windowMinutes: same ? null : own[i] }));
  return `Users with ${parts.join(', and ')}${same ? ` within ${minutesInWords(own[0] ?? windowMinutes)}` : ''}.`;
}

const ACTIONS: Record<string, string> = { create: 'created', replace: 'changed', pause: 'paused', resume: 'resumed', drop: 'deleted' };

/** What was done to a segment. */
export const actionInWords = (action: string): string => ACTIONS[action] ?? action;

const WORDS: Record<string, string> = { AND: 'AND', OR: 'OR', NOT: 'AND NOT' };

/** Names with spaces and the like stand in quotes. */
export const quoted = (name: string) => (/^[\p{L}_][\p{L}\p{N}_-]*$/u.test(name) && !/^(and|or|not)$/i.test(name) ? name : `"${name}"`);

/** `(a AND b) OR c`: dependencies folded from left to right; the first operator means nothing. */
export function expressionOf(dependencies: readonly { segment: string; operator: string }[]): string {
  return dependencies.reduce((text, { segment, operator }, i) => {
    if (i === 0) return quoted(segment);
    const before = i > 1 && dependencies[i - 1]?.operator !== operator ? `(${text})` : text;
    return `${before} ${WORDS[operator] ?? operator} ${quoted(segment)}`;
  }, '');
}

/** A reason without what only the engine calls things. */
export function plainReason(reason: string): string {
  // The engine numbers the segments that are read.
  const text = reason.replace(/whether (?:(?!whether ).)*\bp\d+\b.*? is only known/, 'who is not in a segment is only known');
  const shown = text.replace(/\b(?:Utf8|Int64|Float64)\(("?)([^")]*)\1\)/g, (_, quote: string, value: string) => (quote ? `'${value}'` : value));
  return shown.replaceAll('count(1)', 'count(*)');
}
