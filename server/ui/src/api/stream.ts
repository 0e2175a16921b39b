// Results as they are emitted.
import { createEventSource, type EventSourceClient } from 'eventsource-client';
import { useCallback, useEffect, useEffectEvent, useMemo, useRef, useState } from 'react';
import { Changes } from '../lib/changes';
import { problemOf } from './problem';
import { refuse, token, useToken } from './token';
import type { SegmentResult } from './types';

export interface StreamedResult extends SegmentResult {
  /** Unlike any other of this page. */
  key: number;
  /** When it came, by the browser's clock. */
  received: number;
}

export type StreamState = 'connecting' | 'open' | 'paused';

export interface StreamOptions {
  segment?: string;
  user?: string;
  /** Results that are kept, newest first. */
  keep?: number;
  /** Which kinds are kept; all of them by default. That a member qualifies in one more window is no change, and never kept. */
  kinds?: readonly ('entered' | 'exited' | 'result')[];
  paused?: boolean;
  /** The page is drawn anew at most that often, ms. */
  every?: number;
  /** Told of all that came since the last time, whatever is kept; e.g. to read something again. */
  onResults?: (results: readonly StreamedResult[]) => void;
}

export interface ResultStream {
  /** Newest first. */
  results: readonly StreamedResult[];
  state: StreamState;
  /** Changes of membership since the stream began, whatever is kept. */
  entered: number;
  exited: number;
  /** Batches that the service left out, as this page was too slow. */
  lagged: number;
  clear: () => void;
}

let nextKey = 0;

const EMPTY = { results: [] as readonly StreamedResult[], entered: 0, exited: 0, lagged: 0 };

async function authorizedFetch(url: string | URL, init?: object): Promise<Response> {
  const value = token();
  const headers = { ...(init as RequestInit | undefined)?.headers, ...(value ? { Authorization: `Bearer ${value}` } : {}) };
  const response = await fetch(url, { ...init, headers });
  if (response.ok) return response;
  const problem = problemOf(response.status, await response.json().catch(() => null));
  if (response.status === 401 || response.status === 403) refuse(problem.problem, true);
  throw problem; // It is tried again.
}

/** Follows results, reconnects by itself, and lets go of the connection while nobody sees the page. */
export function useResultStream({ segment, user, keep = 200, kinds, paused = false, every = 250, onResults }: StreamOptions = {}): ResultStream {
  const [open, setOpen] = useState(false);
  const [kept, setKept] = useState(EMPTY);
  const pending = useRef({ ...EMPTY, results: [] as StreamedResult[] });
  const { token: credential } = useToken();
  const wanted = kinds?.join(',');

  const url = useMemo(() => {
    const query = new URLSearchParams();
    if (segment) query.set('segment', segment);
    if (user) query.set('user', user);
    return `/api/v1/results/stream?${query.toString()}`;
  }, [segment, user]);

  const told = useEffectEvent((results: readonly StreamedResult[]) => onResults?.(results));

  useEffect(() => {
    if (paused) return;
    let source: EventSourceClient | undefined;
    const changes = new Changes();
    const connect = () => {
      source = createEventSource({
        url: new URL(url, window.location.href),
        fetch: authorizedFetch,
        onConnect: () => {
          setOpen(true);
        },
        onDisconnect: () => {
          setOpen(false);
        },
        onMessage: ({ event, data }) => {
          if (event === 'lagged') {
            pending.current.lagged += Number(data);
            return;
          }
          const result = JSON.parse(data) as SegmentResult;
          if (changes.take(result)) pending.current.results.push({ ...result, key: nextKey++, received: Date.now() });
        },
      });
    };
    const close = () => {
      source?.close();
      source = undefined;
      setOpen(false);
    };
    const onVisibility = () => {
      if (document.hidden) close();
      else if (!source) connect();
    };
    if (!document.hidden) connect();
    document.addEventListener('visibilitychange', onVisibility);
    const timer = setInterval(() => {
      const { results, lagged } = pending.current;
      if (results.length === 0 && lagged === 0) return;
      pending.current = { ...EMPTY, results: [] };
      const shown = wanted === undefined ? results : results.filter((r) => wanted.includes(r.event));
      const count = (event: string) => results.filter((r) => r.event === event).length;
      setKept((before) => ({
        results: [...shown.slice(-keep).reverse(), ...before.results].slice(0, keep),
        entered: before.entered + count('entered'),
        exited: before.exited + count('exited'),
        lagged: before.lagged + lagged,
      }));
      told(results);
    }, every);
    return () => {
      clearInterval(timer);
      document.removeEventListener('visibilitychange', onVisibility);
      close();
    };
  }, [url, paused, keep, wanted, every, credential]);

  // What was kept of another segment or user is of no use.
  const [shownUrl, setShownUrl] = useState(url);
  if (shownUrl !== url) {
    setShownUrl(url);
    setKept(EMPTY);
  }

  const clear = useCallback(() => {
    pending.current = { ...EMPTY, results: [] };
    setKept(EMPTY);
  }, []);

  return { ...kept, state: paused ? 'paused' : open ? 'open' : 'connecting', clear };
}
