// Sends events, once or again and again, and says how it goes.
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useRef, useState } from 'react';
import { keys, useSendEvents } from '../../api';
import { makeEvents, type Kind } from './events';

/** Events of a request: few enough to see progress. */
const CHUNK = 100;
const TICK = 1_000;

export interface Order {
  kind: Kind;
  /** The topic that they go to; the service decides without it. */
  topic: string | undefined;
  prefix: string;
  /** How far back their times go, ms. */
  span: number;
  seed: number;
}

export interface Progress {
  state: 'idle' | 'sending' | 'running' | 'done' | 'stopped' | 'failed';
  order?: Order;
  /** How many are to be sent; all the same when it goes on until it is stopped. */
  of: number;
  accepted: number;
  rejected: number;
  reasons: readonly string[];
  startedAt: number;
  /** When it ended, or last did something. */
  at: number;
  error?: unknown;
}

const IDLE: Progress = { state: 'idle', of: 0, accepted: 0, rejected: 0, reasons: [], startedAt: 0, at: 0 };

/** `clock` is the time of the service, which decides what is late or in the future. */
export function useSender(clock: () => number) {
  const [progress, setProgress] = useState(IDLE);
  const { mutateAsync: send } = useSendEvents();
  const queries = useQueryClient();
  const job = useRef(0);
  const users = useRef(0);

  const begin = (state: Progress['state'], order: Order, of: number) => {
    job.current += 1;
    setProgress({ ...IDLE, state, order, of, startedAt: Date.now(), at: Date.now() });
    return job.current;
  };
  const change = (mine: number, next: (now: Progress) => Partial<Progress>) => {
    if (job.current === mine) setProgress((now) => ({ ...now, ...next(now), at: Date.now() }));
  };
  const post = async (mine: number, topic: string | undefined, events: ReturnType<typeof makeEvents>) => {
    const { accepted, rejected } = await send({ events, ...(topic ? { topic } : {}) });
    change(mine, (now) => ({
      accepted: now.accepted + accepted,
      rejected: now.rejected + rejected.length,
      reasons: [...new Set([...now.reasons, ...rejected.map((r) => r.reason)])],
    }));
  };
  const end = (mine: number, state: Progress['state'], error?: unknown) => {
    change(mine, () => ({ state, error }));
    for (const queryKey of [keys.status, keys.segments, keys.events]) void queries.invalidateQueries({ queryKey });
  };

  const once = async (order: Order, count: number) => {
    const mine = begin('sending', order, count);
    const events = makeEvents({ ...order, count, until: clock() });
    try {
      for (let from = 0; from < count && job.current === mine; from += CHUNK) await post(mine, order.topic, events.slice(from, from + CHUNK));
      end(mine, 'done');
    } catch (error) {
      end(mine, 'failed', error);
    }
  };

  const goOn = async (order: Order, rate: number) => {
    const mine = begin('running', order, 0);
    let last = performance.now() - TICK;
    let due = 0;
    let seed = order.seed;
    try {
      while (job.current === mine) {
        // By the clock rather than by ticks, which are late; but nothing is made up for after a pause.
        const now = performance.now();
        due += (Math.min(now - last, 2 * TICK) * rate) / 1_000;
        last = now;
        const count = Math.floor(due);
        due -= count;
        if (count > 0) {
          seed += 1;
          await post(mine, order.topic, makeEvents({ ...order, count, until: clock(), span: TICK, seed, firstUser: users.current }));
          users.current += count;
        }
        await new Promise((resolve) => setTimeout(resolve, Math.max(0, TICK - (performance.now() - now))));
      }
    } catch (error) {
      end(mine, 'failed', error);
    }
  };

  const stop = () => {
    end(job.current, 'stopped');
    job.current += 1;
  };

  // Nothing goes on once the page is left.
  useEffect(
    () => () => {
      job.current += 1;
    },
    [],
  );

  return { progress, once, goOn, stop, busy: progress.state === 'sending' || progress.state === 'running' };
}
