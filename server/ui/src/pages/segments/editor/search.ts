/** The address of the editor holds nothing beside its path. */
export type EditorSearch = Record<never, never>;

export const editorSearch = (): EditorSearch => ({});
