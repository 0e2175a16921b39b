// Errors at lines and columns, as places in a text.

interface At {
  message: string;
  line?: number | null;
  column?: number | null;
  hint?: string | null;
}

/** The place of a line and a column, both from 1 and in characters; never outside of the text. */
export function offsetOf(text: string, line: number, column: number): number {
  const lines = text.split('\n');
  const row = Math.min(Math.max(line, 1), lines.length) - 1;
  const before = lines.slice(0, row).reduce((n, l) => n + l.length + 1, 0);
  // Columns count characters, places count UTF-16 units.
  const within = [...(lines[row] ?? '')].slice(0, Math.max(column, 1) - 1).join('').length;
  return before + within;
}

/** What to underline: the word at each place, or the character before it at the end. All of it for errors without a place. */
export function diagnosticsOf(text: string, errors: readonly At[]) {
  return errors.map(({ message, line, column, hint }) => {
    const full = hint ? `${message}\n${hint}` : message;
    if (line == null) return { from: 0, to: text.length, severity: 'error' as const, message: full };
    let from = offsetOf(text, line, column ?? 1);
    const word = /^(\w+|"[^"\n]*"|'[^'\n]*'|[^\s\w])/.exec(text.slice(from))?.[0] ?? '';
    const to = Math.min(text.length, from + Math.max(word.length, 1));
    if (from === to) from = Math.max(0, to - 1);
    return { from, to, severity: 'error' as const, message: full };
  });
}
