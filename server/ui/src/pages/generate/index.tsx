import { Grid, Stack } from '@mantine/core';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { useStatus, useTopics } from '../../api';
import { PageHeader, Panel, useNow } from '../../components';
import { Effect } from './Effect';
import { faults, makeEvents } from './events';
import { Form, type Values } from './Form';
import { Report } from './Report';
import { Sample } from './Sample';
import { useSender, type Order } from './useSender';

const SECOND = 1_000;
const newSeed = () => Math.floor(Math.random() * 2 ** 32);

/** Makes realistic events and sends them, to try segments out. */
export default function GeneratePage() {
  const { topic } = useSearch({ from: '/events/generate' });
  const go = useNavigate({ from: '/events/generate' });
  const [values, setValues] = useState<Values>({ kind: topic ?? 'order_events', count: 100, prefix: 'user_', mode: 'once', rate: 20, minutes: 5 });
  const [seed, setSeed] = useState(newSeed);
  const skew = useSkew();
  const { data: topics } = useTopics();
  // A service with other topics decides itself where events go.
  const known = topics?.some((t) => t.name === values.kind) ?? true;
  const { progress, once, goOn, stop, busy } = useSender(() => Date.now() + skew);

  const order: Order = {
    kind: values.kind,
    topic: known ? values.kind : undefined,
    prefix: values.prefix,
    span: values.mode === 'on' || values.minutes === 0 ? SECOND : 5 * 60 * SECOND,
    seed,
  };
  const wrong = faults(values);
  const count = values.mode === 'on' ? Number(values.rate) || 1 : wrong.count === undefined ? Number(values.count) : 5;
  const now = useNow() + skew;
  const sample = useMemo(
    () => makeEvents({ kind: order.kind, prefix: order.prefix, span: order.span, seed: order.seed, count, until: now }).slice(0, 5),
    [order.kind, order.prefix, order.span, order.seed, count, now],
  );

  const send = () => {
    if (values.mode === 'on') void goOn(order, Number(values.rate));
    // The next ones are others.
    else
      void once(order, Number(values.count)).then(() => {
        setSeed(newSeed());
      });
  };
  return (
    <>
      <PageHeader title="Event generator" description="Realistic events, to try segments out. They count like any others." />
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Panel title="Events">
            <Form
              values={values}
              busy={busy}
              running={progress.state === 'running'}
              onSend={send}
              onStop={stop}
              onChange={(change) => {
                setValues({ ...values, ...change });
                if (change.kind) void go({ search: { topic: change.kind }, replace: true });
              }}
            />
          </Panel>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Stack gap="md">
            <Report progress={progress} onAgain={send} />
            <Sample events={sample} />
            <Effect prefix={values.prefix} />
          </Stack>
        </Grid.Col>
      </Grid>
    </>
  );
}

/** How far the clock of the service is ahead of this one, ms: it decides what is late. */
function useSkew(): number {
  const { data, dataUpdatedAt } = useStatus();
  const ahead = data ? data.now - dataUpdatedAt : 0;
  // Less is the way of the answer, not of the clocks.
  return Math.abs(ahead) < 2_000 ? 0 : ahead;
}
