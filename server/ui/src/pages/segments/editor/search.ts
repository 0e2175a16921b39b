/** What the address of the editor holds beside its path. */
export interface EditorSearch {
  /** The version whose text one begins with; the newest by default. */
  version?: number;
}

export function editorSearch(search: Record<string, unknown>): EditorSearch {
  const version = Number(search.version);
  return Number.isInteger(version) && version > 0 ? { version } : {};
}
