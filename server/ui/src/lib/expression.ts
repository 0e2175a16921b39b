// Expressions of the engine, for people.

/** An expression of the engine as one would write it in SQL. */
export function plain(expression: string): string {
  return expression
    .replace(/\b(?:Utf8|Utf8View)\("((?:[^"\\]|\\.)*)"\)/g, "'$1'")
    .replace(/\b(?:U?Int(?:8|16|32|64)|Float(?:32|64)|Boolean)\(([^()]*)\)/g, '$1')
    .replace(/\bcount\(1\)/g, 'count(*)')
    .replace(/("[^"]+"|[\w./-]+) IS NOT TRUE\b/g, 'NOT $1');
}
