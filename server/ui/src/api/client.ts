import createClient, { type Middleware } from 'openapi-fetch';
import { problemOf, ProblemError, unreachable } from './problem';
import type { paths } from './schema';
import { refuse, token } from './token';

/** Adds the token; tells when the service wants another one. */
const authorize: Middleware = {
  onRequest({ request }) {
    const value = token();
    if (value) request.headers.set('Authorization', `Bearer ${value}`);
  },
  async onResponse({ request, response }) {
    if (response.status === 401 || response.status === 403) {
      refuse(problemOf(response.status, await response.clone().json().catch(() => null)).problem, request.method === 'GET');
    }
  },
  onError({ error }) {
    return error instanceof DOMException && error.name === 'AbortError' ? undefined : unreachable();
  },
};

declare global {
  interface Window {
    /** The status, which public/early.js asked for. */
    early?: Promise<Response>;
  }
}

/** As `fetch`, but for the answer that is under way already. */
function fetchOnce(request: Request): Promise<Response> {
  const { early } = window;
  if (!early || new URL(request.url).pathname !== '/api/v1/status') return fetch(request);
  delete window.early;
  return early;
}

export const client = createClient<paths>({ baseUrl: '/', fetch: fetchOnce });
client.use(authorize);

interface Answer {
  data?: unknown;
  error?: unknown;
  response: Response;
}

/** The body of a successful answer, as `T`; throws a {@link ProblemError} otherwise. */
export async function answer<T>(call: Promise<Answer>): Promise<T> {
  const { data, error, response } = await call;
  if (!response.ok) throw problemOf(response.status, error);
  return data as T;
}

export { ProblemError };
