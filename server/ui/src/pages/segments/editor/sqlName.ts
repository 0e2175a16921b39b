// The name that a CREATE SEGMENT statement gives.

const CREATE = /^(\s*create\s+(?:or\s+replace\s+)?segment\s+(?:if\s+not\s+exists\s+)?)("(?:[^"]|"")*"|[^\s"(;]+)/i;

/** The name in a statement; `null` for a bare query. */
export function nameIn(sql: string): string | null {
  const name = CREATE.exec(sql)?.[2];
  if (name === undefined) return null;
  return name.startsWith('"') ? name.slice(1, -1).replaceAll('""', '"') : name;
}

const asName = (name: string) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);

/** A statement with another name; a bare query as it is. */
export const renameIn = (sql: string, name: string): string => sql.replace(CREATE, (_, before: string) => `${before}${asName(name)}`);
