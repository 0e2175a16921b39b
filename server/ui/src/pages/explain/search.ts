/** What the address of the page holds beside its path. */
export interface ExplainSearch {
  /** Only this segment stands out. */
  segment?: string;
  /** The node whose details are shown. */
  node?: string;
  /** The nodes as a table rather than as a graph. */
  view?: 'table';
  /** A text is explained rather than what runs. */
  of?: 'text';
}

const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);

export function explainSearch(search: Record<string, unknown>): ExplainSearch {
  const [segment, node] = [text(search.segment), text(search.node)];
  return {
    ...(segment ? { segment } : {}),
    ...(node ? { node } : {}),
    ...(search.view === 'table' ? { view: 'table' } : {}),
    ...(search.of === 'text' ? { of: 'text' } : {}),
  };
}
