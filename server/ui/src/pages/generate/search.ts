import { KINDS, type Kind } from './events';

/** What the address of the page holds beside its path. */
export interface GenerateSearch {
  topic?: Kind;
}

export const generateSearch = (search: Record<string, unknown>): GenerateSearch =>
  KINDS.some((kind) => kind === search.topic) ? { topic: search.topic as Kind } : {};
