// What needs attention, worst first.
import type { Sample, ServiceStatus } from '../../api';
import { formatCount, formatDuration, plural } from '../../lib/format';

export interface Finding {
  id: string;
  tone: 'bad' | 'warn' | 'info';
  title: string;
  text: string;
  /** Where to go about it. */
  action?: { label: string; to: '/events/dead-letters' | '/events/generate' | '/segments/new' | '/settings' };
}

const STALLED = 120_000;
const QUIET = 60_000;
const LATELY = 300_000;
const LAG = 10_000;
const QUEUE = 200;

const TROUBLE: Record<ServiceStatus['problems'][number]['component'], string> = {
  source: 'The source reports a problem',
  sink: 'The sink reports a problem',
  checkpoint: 'Checkpoints report a problem',
  catalog: 'The catalog reports a problem',
  worker: 'A worker has ended',
};

/** What a counter gained lately, and over how long. */
function gained(history: readonly Sample[], of: (s: Sample) => number) {
  const last = history.at(-1);
  const first = history.find((s) => last && s.startedAt === last.startedAt && last.at - s.at <= LATELY);
  return last && first ? { gain: of(last) - of(first), over: last.at - first.at } : { gain: 0, over: 0 };
}

export function findings(status: ServiceStatus, history: readonly Sample[]): Finding[] {
  const found: Finding[] = [];
  const add = (finding: Finding) => found.push(finding);
  const { sink, checkpoint, partitions, now } = status;

  if (sink.error) add({ id: 'sink', tone: 'bad', title: 'The sink does not take results', text: sink.error });
  if (sink.aerospike?.open)
    add({ id: 'breaker', tone: 'bad', title: 'Aerospike does not answer', text: 'The breaker is open; results wait, and are sent again by themselves.' });
  if (status.source.error) add({ id: 'source', tone: 'bad', title: 'The source does not give events', text: status.source.error });
  if (status.catalog.error) add({ id: 'catalog', tone: 'bad', title: 'The catalog does not answer', text: status.catalog.error });
  const known = [sink.error, status.source.error, status.catalog.error];
  status.problems
    .filter((p) => !known.includes(p.detail))
    .forEach(({ component, detail }, i) => {
      add({ id: `${component}${i}`, tone: 'bad', title: TROUBLE[component], text: detail });
    });

  for (const p of partitions) {
    if (p.idle || p.watermark == null || now - p.watermark < STALLED) continue;
    add({
      id: `watermark${p.partition}`,
      tone: 'warn',
      title: `The watermark of partition ${p.partition} is ${formatDuration(now - p.watermark)} behind`,
      text: p.lag > 0 ? `${plural(p.lag, 'record')} of it are still to be read.` : `Its next window waits for ${p.waitsFor}.`,
    });
  }

  const age = checkpoint.ageMs ?? now - status.startedAt;
  if (age > 3 * checkpoint.intervalMs + 30_000 && !status.problems.some((p) => p.component === 'checkpoint'))
    add({
      id: 'checkpoint',
      tone: 'warn',
      title: checkpoint.at == null ? 'No checkpoint has been saved yet' : `The last checkpoint is ${formatDuration(age)} old`,
      text: 'After a crash, everything since then is read again.',
    });

  const letters = gained(history, (s) => s.deadLetters);
  if (letters.gain > 0)
    add({
      id: 'dead-letters',
      tone: 'warn',
      title: `${plural(letters.gain, 'dead letter')} in the last ${formatDuration(Math.max(letters.over, 1_000))}`,
      text: 'Records that break a rule, or came too late for their window.',
      action: { label: 'See them', to: '/events/dead-letters' },
    });

  const lag = partitions.reduce((sum, p) => sum + p.lag, 0);
  if (lag > LAG && gained(history, (s) => s.lag).gain >= 0)
    add({ id: 'lag', tone: 'warn', title: `${formatCount(lag)} records are waiting to be read`, text: 'Events arrive faster than they are evaluated.' });

  if (sink.queue > QUEUE) add({ id: 'queue', tone: 'warn', title: `${formatCount(sink.queue)} batches wait for the sink`, text: 'Memberships are stored later than they are decided.' });

  const events = partitions.reduce((sum, p) => sum + p.events, 0);
  const newest = Math.max(...partitions.map((p) => p.evaluatedAt));
  if (status.segments === 0)
    add({
      id: 'no-segments',
      tone: 'info',
      title: 'There are no segments yet',
      text: 'A segment says, as rules or as SQL, which users it is about.',
      action: { label: 'Make one', to: '/segments/new' },
    });
  if (events === 0 || now - newest > QUIET)
    add({
      id: 'quiet',
      tone: 'info',
      title: events === 0 ? 'No events have come in yet' : `No events have come in for ${formatDuration(now - newest)}`,
      text: 'Segments are decided as events arrive.',
      action: { label: 'Generate some', to: '/events/generate' },
    });

  const rank = { bad: 0, warn: 1, info: 2 };
  return found.sort((a, b) => rank[a.tone] - rank[b.tone]);
}
