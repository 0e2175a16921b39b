import { describe, expect, it } from 'vitest';
import { sampleOf, type ServiceStatus } from '../../api';
import { findings } from './findings';

const NOW = 1_800_000_000_000;

function status(change: Partial<ServiceStatus> = {}, partition: Partial<ServiceStatus['partitions'][number]> = {}): ServiceStatus {
  return {
    version: '0.1.0',
    startedAt: NOW - 600_000,
    now: NOW,
    revision: 1,
    segments: 1,
    running: 1,
    workers: 1,
    partitions: [
      {
        partition: 0,
        worker: 0,
        revision: 1,
        offsets: {},
        lag: 0,
        watermark: NOW - 2_000,
        waitsFor: 'events that are 3.0 s newer',
        idle: false,
        groups: 0,
        stateBytes: 0,
        members: 0,
        evaluatedAt: NOW - 100,
        events: 1_000,
        deadLetters: 0,
        results: 10,
        ...partition,
      },
    ],
    checkpoint: { published: 1, at: NOW - 30_000, ageMs: 30_000, bytes: 1, millis: 1, intervalMs: 60_000 },
    sink: { kind: 'embedded', results: 0, writes: 0, retries: 0, queue: 0, error: null, membersTold: 0 },
    logBytes: 0,
    source: { kind: 'embedded', evaluatedElsewhere: false, ignored: {}, topics: ['order_events'] },
    catalog: { kind: 'sqlite', readAt: NOW },
    time: { outOfOrdernessMs: 30_000, allowedLatenessMs: 0, idleTimeoutMs: 30_000, maxFutureMs: 3_600_000 },
    deadLetters: {},
    members: [],
    problems: [],
    ...change,
  };
}

const ids = (s: ServiceStatus, history = [sampleOf(s)]) => findings(s, history).map((f) => f.id);

describe('findings', () => {
  it('has nothing to say of a service that does well', () => {
    expect(ids(status())).toEqual([]);
  });
  it('says once that the sink fails, and says it first', () => {
    const s = status({ problems: [{ component: 'sink', detail: 'refused' }] }, { watermark: NOW - 200_000 });
    s.sink.error = 'refused';
    expect(ids(s)).toEqual(['sink', 'watermark0']);
  });
  it('does not mind old watermarks of idle partitions', () => {
    expect(ids(status({}, { watermark: NOW - 900_000, idle: true }))).toEqual([]);
  });
  it('sees dead letters rise, but not those of before', () => {
    const [before, after] = [status({ now: NOW - 10_000, deadLetters: { late: 5 } }), status({ deadLetters: { late: 6, not_json: 2 } })];
    expect(findings(after, [before, after].map(sampleOf))[0]?.title).toBe('3 dead letters in the last 10 s');
    expect(ids(after)).toEqual([]);
  });
  it('sees a checkpoint that is old or never came', () => {
    expect(ids(status({ checkpoint: { published: 1, at: 1, ageMs: 300_000, bytes: 0, millis: 0, intervalMs: 60_000 } }))).toEqual(['checkpoint']);
    expect(ids(status({ checkpoint: { published: 0, at: null, ageMs: null, bytes: 0, millis: 0, intervalMs: 90_000 } }))).toEqual(['checkpoint']);
  });
  it('leads on when there are no segments and no events', () => {
    expect(ids(status({ segments: 0 }, { events: 0 }))).toEqual(['no-segments', 'quiet']);
  });
});
