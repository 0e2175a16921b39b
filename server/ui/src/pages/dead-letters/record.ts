// The raw record of a dead letter: shown, and repaired.

export interface RawLetter {
  reason: string;
  raw?: string | null;
  rawHex?: string | null;
  at: number;
}

export interface Line {
  text: string;
  /** Whether this is what was wrong. */
  wrong: boolean;
}

function parse(text: string): { value: unknown } | { at: number | null } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    const at = /position (\d+)/.exec(String(error))?.[1];
    return { at: at !== undefined ? Number(at) : String(error).includes('end of JSON') ? text.length : null };
  }
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The record, set as JSON when it is some, with the lines that are wrong. */
export function linesOf(raw: string, field?: string): Line[] {
  const parsed = parse(raw);
  if (!('value' in parsed)) return brokenLines(raw, parsed.at);
  if (!isObject(parsed.value)) return [{ text: JSON.stringify(parsed.value), wrong: true }];
  let depth = 0;
  let inside = false;
  return JSON.stringify(parsed.value, null, 2)
    .split('\n')
    .map((text) => {
      const level = /^ */.exec(text)?.[0].length ?? 0;
      // A value that goes on over several lines is wrong as a whole.
      if (inside) {
        inside = level > depth;
        return { text, wrong: true };
      }
      const wrong = field !== undefined && level === 2 && text.trimStart().startsWith(`"${field}":`);
      if (wrong && /[[{]$/.test(text)) [inside, depth] = [true, level];
      return { text, wrong };
    });
}

/** A text that is not JSON, with the line in which one sees that. */
function brokenLines(raw: string, at: number | null): Line[] {
  const lines = raw.split('\n');
  let start = 0;
  return lines.map((text) => {
    const place = at ?? (lines.length === 1 ? 0 : -1);
    const wrong = place >= start && place <= start + text.length;
    start += text.length + 1;
    return { text, wrong };
  });
}

/** Bytes as a dump: offset, hexadecimal, and what is text of it. */
export function dump(hex: string, most = 4_096): string {
  const bytes = hex.slice(0, most * 2).match(/../g) ?? [];
  const lines: string[] = [];
  for (let i = 0; i < bytes.length; i += 16) {
    const row = bytes.slice(i, i + 16);
    const text = row.map((b) => {
      const code = parseInt(b, 16);
      return code >= 32 && code < 127 ? String.fromCharCode(code) : '.';
    });
    lines.push(`${i.toString(16).padStart(6, '0')}  ${row.join(' ').padEnd(47)}  ${text.join('')}`);
  }
  return lines.join('\n');
}

const latin = (hex: string) => new TextDecoder('latin1').decode(Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16)));

/** Seconds and microseconds look like no time of today in milliseconds. */
function millis(value: unknown, now: number): number {
  const number = typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value)) ? Number(value) : value;
  if (typeof number === 'string') {
    const time = Date.parse(number);
    return Number.isNaN(time) ? now : time;
  }
  if (typeof number !== 'number' || !Number.isFinite(number)) return now;
  const unit = [1, 1_000, 1 / 1_000, 1 / 1_000_000].find((factor) => Math.abs(number * factor - now) < 366 * 86_400_000);
  return Math.round(number * (unit ?? 1));
}

const asText = (value: unknown) => (value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value as string | number | boolean));

export interface Suggestion {
  text: string;
  /** What was done to the record; nothing when one has to do it oneself. */
  done: string[];
}

/** A first go at the repair: what can only have been meant is put right, the rest is left to do. */
export function suggest({ reason, raw, rawHex }: RawLetter, now: number): Suggestion {
  const text = raw ?? latin(rawHex ?? '');
  const parsed = parse(text);
  if (!('value' in parsed)) return { text, done: [] };
  if (!isObject(parsed.value)) return { text: JSON.stringify(parsed.value, null, 2), done: [] };
  const record: Record<string, unknown> = { ...parsed.value };
  const done: string[] = [];
  const set = (field: string, value: unknown) => {
    if (JSON.stringify(record[field]) === JSON.stringify(value)) return;
    done.push(field in record ? `${field}: ${JSON.stringify(record[field])} became ${JSON.stringify(value)}` : `${field} was added as ${JSON.stringify(value)}`);
    record[field] = value;
  };
  const drop = (field: string) => {
    done.push(`${field} was left out`);
    record[field] = undefined;
  };
  switch (reason) {
    case 'invalid_user_id':
      set('userId', asText(record.userId));
      break;
    case 'invalid_event_type':
      set('eventType', asText(record.eventType));
      break;
    case 'missing_user_id':
    case 'missing_event_type': {
      const field = reason === 'missing_user_id' ? 'userId' : 'eventType';
      const same = (key: string) => key.replace(/[_-]/g, '').toLowerCase();
      const named = Object.keys(record).find((key) => key !== field && same(key) === field.toLowerCase());
      if (named) {
        set(field, asText(record[named]));
        drop(named);
      }
      break;
    }
    case 'missing_timestamp':
      set('timestamp', now);
      break;
    case 'invalid_timestamp':
    case 'future_timestamp':
      set('timestamp', millis(record.timestamp, now));
      break;
    case 'invalid_value': {
      const value = typeof record.value === 'string' ? Number(record.value.replace(',', '.').replace(/[^\d.+-]/g, '') || NaN) : NaN;
      if (Number.isFinite(value)) set('value', value);
      else drop('value');
      break;
    }
    case 'invalid_session_id':
      set('sessionId', asText(record.sessionId));
      break;
    case 'invalid_metadata':
      drop('metadata');
      break;
    default:
  }
  return { text: JSON.stringify(record, null, 2), done };
}

/** A command that sends a record. */
export function curl(text: string, url: string): string {
  const quoted = text.replaceAll("'", `'\\''`);
  return `curl -X POST '${url}' -H 'Content-Type: application/json' -d '${quoted}'`;
}
