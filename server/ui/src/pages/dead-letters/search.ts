/** What the address of the page holds beside its path. */
export interface DeadLettersSearch {
  reason?: string;
  topic?: string;
}

const text = (value: unknown) => (typeof value === 'string' && value !== '' ? value : undefined);

export function deadLettersSearch(search: Record<string, unknown>): DeadLettersSearch {
  const [reason, topic] = [text(search.reason), text(search.topic)];
  return { ...(reason ? { reason } : {}), ...(topic ? { topic } : {}) };
}
