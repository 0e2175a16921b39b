import type { Problem } from './types';

/** A failed call. `problem` says what happened, in the words of the service where it answered. */
export class ProblemError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail || problem.title);
    this.name = 'ProblemError';
  }

  /** Whether the service was not there to answer. */
  get unreachable(): boolean {
    return this.problem.status === 0;
  }
}

export const unreachable = (): ProblemError =>
  new ProblemError({ title: 'Cohort cannot be reached', status: 0, detail: 'The service does not answer.', hint: 'It is tried again by itself.' });

/** The problem of an answer that is not a success. */
export function problemOf(status: number, body: unknown): ProblemError {
  if (typeof body === 'object' && body !== null && 'title' in body && 'detail' in body) {
    return new ProblemError({ ...(body as Problem), status });
  }
  // Something in between answered, as the service did not.
  if (status >= 500) return unreachable();
  const text = typeof body === 'string' && body.length < 300 ? body : '';
  return new ProblemError({ title: `HTTP ${status}`, status, detail: text || 'The answer has no explanation.' });
}

/** Any error as a problem, to be shown. */
export function asProblem(error: unknown): Problem {
  if (error instanceof ProblemError) return error.problem;
  return { title: 'Something went wrong in this page', status: 0, detail: error instanceof Error ? error.message : String(error) };
}
