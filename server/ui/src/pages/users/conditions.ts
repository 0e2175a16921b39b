// What a window is compared with, for people: conditions as terms with a value, a threshold and how far off it is.
import type { WhyWindow } from '../../api';
import { plain } from '../../lib/expression';
import { formatNumber } from '../../lib/format';

export type Operator = '>' | '>=' | '<' | '<=' | '=' | '!=';

export interface Term {
  /** The aggregate, as SQL. */
  aggregate: string;
  operator: Operator;
  threshold: number;
  /** `null` where there is none, or where it is no number. */
  value: number | null;
  met: boolean;
}

export interface Terms {
  /** Whether all must be met, or one will do. */
  all: boolean;
  terms: Term[];
}

/** The same for the texts of conditions and of aggregates, which quote differently. */
const alike = (aggregate: string) => plain(aggregate).replace(/\bWHERE /g, '').replace(/'/g, '').replace(/\s+/g, ' ').trim();

/** Parts of a text at a word that is not within parentheses or quotes. */
function splitAt(text: string, word: string): string[] {
  const parts: string[] = [];
  let [depth, from, quote] = [0, 0, ''];
  for (let i = 0; i < text.length; i++) {
    const c = text.charAt(i);
    if (quote) quote = c === quote ? '' : quote;
    else if (c === "'" || c === '"') quote = c;
    else if (c === '(') depth++;
    else if (c === ')') depth--;
    else if (depth === 0 && text.startsWith(word, i)) {
      parts.push(text.slice(from, i));
      from = i + word.length;
      i = from - 1;
    }
  }
  return [...parts, text.slice(from)];
}

const COMPARISON = /^(.+?) (>=|<=|!=|<>|>|<|=) (-?\d+(?:\.\d+)?(?:e-?\d+)?)$/i;
/** How the engine says that a sum equals a number, or does not. */
const NEAR = /^abs\((.+) - (-?\d+(?:\.\d+)?)\) (<|>=) 0\.001$/;

function holds(value: number, operator: Operator, threshold: number): boolean {
  switch (operator) {
    case '>':
      return value > threshold;
    case '>=':
      return value >= threshold;
    case '<':
      return value < threshold;
    case '<=':
      return value <= threshold;
    case '=':
      return Math.abs(value - threshold) < 0.001;
    case '!=':
      return Math.abs(value - threshold) >= 0.001;
  }
}

function parseTerm(text: string, valueOf: (aggregate: string) => number | null | undefined): Term | null {
  const near = NEAR.exec(text);
  const [, aggregate, sign, number] = near ? [null, near[1], near[3] === '<' ? '=' : '!=', near[2]] : (COMPARISON.exec(text) ?? []);
  if (!aggregate || !sign || number === undefined) return null;
  const value = valueOf(aggregate);
  if (value === undefined) return null;
  const [operator, threshold] = [(sign === '<>' ? '!=' : sign) as Operator, Number(number)];
  return { aggregate, operator, threshold, value, met: value !== null && holds(value, operator, threshold) };
}

/** The terms of a condition over the aggregates of a window; `null` for one that is more than comparisons with numbers. */
export function termsOf(condition: string, window: Pick<WhyWindow, 'aggregates' | 'operator' | 'threshold' | 'qualifies'>): Terms | null {
  const number = (value: unknown) => (typeof value === 'number' ? value : null);
  const values = new Map(window.aggregates.map((a) => [alike(a.aggregate), number(a.value)]));
  const [first] = window.aggregates;
  if (first && window.aggregates.length === 1 && window.operator && window.threshold != null) {
    const term = { aggregate: first.aggregate, operator: window.operator as Operator, threshold: window.threshold, value: number(first.value), met: window.qualifies };
    return { all: true, terms: [term] };
  }
  return parse(condition, (aggregate) => values.get(alike(aggregate)));
}

function parse(condition: string, valueOf: (aggregate: string) => number | null | undefined): Terms | null {
  const text = plain(condition);
  for (const [word, all] of [[' AND ', true], [' OR ', false]] as const) {
    const terms = splitAt(text, word).map((part) => parseTerm(part.trim(), valueOf));
    if (terms.every((t) => t !== null)) return { all, terms };
  }
  return null;
}

/** What it takes of a user who has no event yet: counts and sums are zero. `null` as for {@link termsOf}. */
export function emptyTerms(condition: string): Terms | null {
  return parse(condition, (aggregate) => (/^(?:coalesce\(sum|sum|count)\(/.test(alike(aggregate)) ? 0 : null));
}

/** An aggregate in words: `sum of value`, `number of events where event_type = view`. */
export function inWords(aggregate: string): string {
  const text = alike(aggregate).replace(/^coalesce\((.*), 0\)$/, '$1');
  const [, inner = text, filter] = /^(.*?) FILTER \((.*)\)$/.exec(text) ?? [];
  const words = inner
    .replace(/^count\(\*\)$/, 'number of events')
    .replace(/^count\(DISTINCT (.*)\)$/, 'number of different $1')
    .replace(/^sum\(([^()]*)\)$/, 'sum of $1')
    .replace(/^avg\(([^()]*)\)$/, 'average of $1')
    .replace(/^min\(([^()]*)\)$/, 'smallest $1')
    .replace(/^max\(([^()]*)\)$/, 'largest $1')
    .replace(/^count\(([^()]*)\)$/, 'number of events with $1')
    .replace(/\bmetadata\[(.*?)\]/g, '$1');
  return filter ? `${words} where ${filter.replace(/\bmetadata\[(.*?)\]/g, '$1')}` : words;
}

const NEEDED: Record<Operator, string> = { '>': 'more than', '>=': 'at least', '<': 'less than', '<=': 'at most', '=': 'exactly', '!=': 'anything but' };

/** What it takes: `more than 500`. */
export const needed = ({ operator, threshold }: Pick<Term, 'operator' | 'threshold'>): string => `${NEEDED[operator]} ${formatNumber(threshold)}`;

const counts = (aggregate: string) => /^count\(/.test(alike(aggregate));

/** How far off it is: `3 more needed`, `250 short`, `12 too many`, `156.9 over`. */
export function distanceOf({ aggregate, operator, threshold, value, met }: Term): string {
  if (value === null) return 'no value yet';
  const whole = counts(aggregate);
  const far = Math.abs(value - threshold);
  const amount = formatNumber(far);
  if (!met) {
    switch (operator) {
      case '>':
      case '>=': {
        // A count has to pass a threshold by one.
        const missing = whole ? Math.floor(threshold - value) + (operator === '>' ? 1 : threshold % 1 === 0 ? 0 : 1) : threshold - value;
        return whole ? `${formatNumber(missing)} more needed` : `${formatNumber(missing)} short`;
      }
      case '<':
      case '<=':
        return whole ? `${formatNumber(Math.floor(value - threshold) + (operator === '<' ? 1 : 0))} too many` : `${amount} too much`;
      case '=':
        return `${amount} ${value < threshold ? 'short' : 'too much'}`;
      case '!=':
        return 'just that';
    }
  }
  if (operator === '=') return 'just that';
  if (operator === '!=') return `${amount} away`;
  if (far === 0) return 'just enough';
  return operator.startsWith('>') ? `${amount} over` : `${amount} below`;
}

/** Where value and threshold are on a bar, 0 to 1. */
export function barOf({ value, threshold }: Pick<Term, 'value' | 'threshold'>): { value: number; threshold: number } {
  const low = Math.min(0, value ?? 0, threshold);
  const high = Math.max(value ?? 0, threshold, 0);
  // The mark stays readable however far the value is beyond it.
  const top = high === threshold ? threshold + (threshold - low || 1) * 0.3 : Math.min(high + (high - low) * 0.08, Math.max(threshold * 4, threshold + 1) || high);
  const span = top - low || 1;
  const at = (x: number) => Math.max(0, Math.min(1, (x - low) / span));
  return { value: at(value ?? 0), threshold: at(threshold) };
}

/** Windows with those that decide first: for members those that qualify, else the nearest; newest first among equals. */
export function ranked<W extends Pick<WhyWindow, 'qualifies' | 'distance' | 'windowEnd' | 'windowStart'>>(windows: readonly W[], member: boolean): W[] {
  const decides = (w: W) => (w.qualifies === member ? 0 : 1);
  return [...windows].sort((a, b) => decides(a) - decides(b) || (member ? 0 : (a.distance ?? 0) - (b.distance ?? 0)) || b.windowEnd - a.windowEnd || b.windowStart - a.windowStart);
}

/** Whether an input has to be in or out by an expression of names; `either` when it is one of several ways. */
export function roleOf(expression: string, name: string): 'in' | 'out' | 'either' {
  const quoted = name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
  if (new RegExp(`NOT \\(?"?${quoted}"?(?![\\w-])`, 'i').test(expression)) return 'out';
  return / OR /i.test(expression) ? 'either' : 'in';
}
