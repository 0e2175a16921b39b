// Results as they are emitted.
import { createEventSource, type EventSourceClient } from 'eventsource-client';
import { useEffect, useEffectEvent, useMemo, useRef, useState } from 'react';
import { Changes } from '../lib/changes';
import { answer, client } from './client';
import { problemOf } from './problem';
import { useLost } from './queries';
import { refuse, token, useToken } from './token';
import type { SegmentResult } from './types';

export interface StreamedResult extends SegmentResult {
  /** Unlike any other of this page. */
  key: number;
}

export type StreamState = 'connecting' | 'open' | 'paused';

export interface StreamOptions {
  segment?: string;
  user?: string;
  /** Results that are kept, newest first. */
  keep?: number;
  /** How many of those from before the page are kept too. */
  before?: number;
  /** Only these kinds; all of them by default. */
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
  /** Whether those from before the page are there. */
  loaded: boolean;
  state: StreamState;
  /** Changes of membership since the page was opened, whatever is kept. */
  entered: number;
  exited: number;
}

/** Whose changes of membership pages show. */
export const CHANGES = ['entered', 'exited'] as const;

/** Results that are listed at a time: what came while the stream was broken is filled in as far as that. */
const LISTED = 200;
/** The service says something every 15 s. One that is silent for longer is not there, whatever the network says. */
const SILENCE = 40_000;

interface Wanted {
  segment?: string;
  user?: string;
  event?: string;
}

async function authorizedFetch(url: string | URL, init?: object): Promise<Response> {
  const value = token();
  const headers = { ...(init as RequestInit | undefined)?.headers, ...(value ? { Authorization: `Bearer ${value}` } : {}) };
  const response = await fetch(url, { ...init, headers });
  if (response.ok) return response;
  const problem = problemOf(response.status, await response.json().catch(() => null));
  if (response.status === 401 || response.status === 403) refuse(problem.problem, true);
  throw problem; // It is tried again.
}

interface Follower {
  onState: (open: boolean) => void;
  onResult: (result: SegmentResult) => void;
}

/** Follows a stream, and connects again whenever it breaks off, or is silent; ends when it is told to. */
function follow(wanted: Wanted, { onState, onResult }: Follower): () => void {
  const query = new URLSearchParams({ ...wanted });
  const url = new URL(`/api/v1/results/stream?${query.toString()}`, window.location.href);
  let source: EventSourceClient | undefined;
  let heard = Date.now();
  const connect = () => {
    source?.close();
    heard = Date.now();
    source = createEventSource({
      url,
      fetch: authorizedFetch,
      onConnect: () => {
        heard = Date.now();
        onState(true);
      },
      // Unlike a disconnect, it is told of streams that are torn down too.
      onScheduleReconnect: () => {
        onState(false);
      },
      onComment: () => {
        heard = Date.now();
      },
      onMessage: ({ event, data }) => {
        heard = Date.now();
        if (event !== 'lagged') onResult(JSON.parse(data) as SegmentResult);
      },
    });
  };
  connect();
  const watch = setInterval(() => {
    if (Date.now() - heard < SILENCE) return;
    onState(false);
    connect();
  }, 5_000);
  return () => {
    clearInterval(watch);
    source?.close();
  };
}

/** Calls a function while somebody sees the page; what it returns is called when they no longer do. */
function whileVisible(begin: () => () => void): () => void {
  let end: (() => void) | undefined;
  const look = () => {
    if (document.hidden) {
      end?.();
      end = undefined;
    } else end ??= begin();
  };
  look();
  document.addEventListener('visibilitychange', look);
  return () => {
    document.removeEventListener('visibilitychange', look);
    end?.();
  };
}

let nextKey = 0;
const keyed = (result: SegmentResult): StreamedResult => ({ ...result, key: nextKey++ });
const count = (results: readonly SegmentResult[], event: string) => results.filter((r) => r.event === event).length;

const nothing = () => ({ changes: new Changes<SegmentResult>(LISTED), begun: false, pending: [] as StreamedResult[] });
const EMPTY = { results: [] as readonly StreamedResult[], loaded: false, entered: 0, exited: 0 };

/**
 * Follows results. It connects again by itself, lets go of the connection while nobody sees the page, and fills in what came
 * meanwhile.
 */
export function useResultStream({ segment, user, keep = 200, before = 0, kinds, paused = false, every = 250, onResults }: StreamOptions = {}): ResultStream {
  const [open, setOpen] = useState(false);
  const [kept, setKept] = useState(EMPTY);
  const { token: credential } = useToken();
  // What is in between may keep a stream open that nothing comes from any more.
  const lost = useLost();
  const event = kinds?.join(',');
  const wanted = useMemo<Wanted>(() => ({ ...(segment ? { segment } : {}), ...(user ? { user } : {}), ...(event ? { event } : {}) }), [segment, user, event]);
  const tell = useEffectEvent((results: readonly StreamedResult[]) => onResults?.(results));

  // What is known outlives pauses. That of another segment or user is of no use.
  const known = useRef({ wanted, ...nothing() });
  const [shown, setShown] = useState(wanted);
  if (shown !== wanted) {
    setShown(wanted);
    setKept(EMPTY);
  }

  useEffect(() => {
    if (paused || lost) return;
    if (known.current.wanted !== wanted) known.current = { wanted, ...nothing() };
    const now = known.current;
    const fill = async (signal: AbortSignal) => {
      const newest = await answer<SegmentResult[]>(client.GET('/api/v1/results', { params: { query: { ...wanted, limit: LISTED } }, signal })).catch(() => null);
      if (signal.aborted) return;
      const fresh = now.changes.listed(newest ?? []);
      const old = now.begun || !newest ? [] : fresh.splice(0, newest.length);
      now.begun ||= newest !== null;
      now.pending.push(...fresh.map(keyed));
      const first = old.reverse().slice(0, before);
      setKept((was) => ({ ...was, loaded: true, results: [...was.results, ...first.map(keyed)].slice(0, keep) }));
    };

    const end = whileVisible(() => {
      let filling: AbortController | undefined;
      const stop = follow(wanted, {
        onState: (isOpen) => {
          setOpen(isOpen);
          filling?.abort();
          if (!isOpen) return;
          now.changes.opened();
          filling = new AbortController();
          void fill(filling.signal);
        },
        onResult: (result) => {
          now.pending.push(...now.changes.told(result).map(keyed));
        },
      });
      return () => {
        stop();
        filling?.abort();
        setOpen(false);
      };
    });

    const timer = setInterval(() => {
      const results = now.pending.splice(0);
      if (results.length === 0) return;
      setKept((was) => ({
        ...was,
        results: [...results.slice(-keep).reverse(), ...was.results].slice(0, keep),
        entered: was.entered + count(results, 'entered'),
        exited: was.exited + count(results, 'exited'),
      }));
      tell(results);
    }, every);
    return () => {
      clearInterval(timer);
      end();
    };
  }, [wanted, paused, lost, keep, before, every, credential]);

  return { ...kept, state: paused ? 'paused' : open ? 'open' : 'connecting' };
}
