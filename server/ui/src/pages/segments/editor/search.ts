/** What the address of the page holds beside its path. */
export interface EditorSearch {
  q?: string;
}

export const editorSearch = (search: Record<string, unknown>): EditorSearch => ({
  ...(typeof search.q === 'string' && search.q !== '' ? { q: search.q } : {}),
});
