import { Card, Group, SimpleGrid, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { ServiceStatus } from '../../api';
import { StatusDot, type Tone } from '../../components';
import { formatBytes, formatCompact, formatDuration, plural } from '../../lib/format';
import classes from './dashboard.module.css';

interface Part {
  name: string;
  tone: Tone;
  state: string;
  facts: [string, ReactNode][];
}

function parts(status: ServiceStatus): Part[] {
  const { sink, checkpoint, partitions, now } = status;
  const age = checkpoint.ageMs ?? null;
  const idle = partitions.filter((p) => p.idle).length;
  const others = status.members.length;
  const late = (age ?? now - status.startedAt) > 210_000;
  return [
    {
      name: 'Source',
      tone: status.source.error ? 'bad' : idle === partitions.length ? 'idle' : 'good',
      state: status.source.error ? 'Fails' : idle === partitions.length ? 'Quiet' : 'Reads',
      facts: [
        ['partitions', `${partitions.length - idle} of ${partitions.length} busy`],
        others > 0 ? ['other members', others] : ['events kept', formatBytes(status.logBytes)],
      ],
    },
    {
      name: 'Sink',
      tone: sink.error || sink.aerospike?.open ? 'bad' : sink.queue > 200 ? 'warn' : 'good',
      state: sink.error || sink.aerospike?.open ? 'Fails' : 'Writes',
      facts: [
        ['to', sink.kind],
        ['waiting', plural(sink.queue, 'batch', 'batches')],
      ],
    },
    {
      name: 'Checkpoint',
      tone: late ? 'warn' : age === null ? 'idle' : 'good',
      state: age === null ? 'None yet' : `${formatDuration(Math.floor(age / 1000) * 1000)} old`,
      facts:
        age === null
          ? [['the first is', 'under way']]
          : [
              ['size', formatBytes(checkpoint.bytes)],
              ['took', formatDuration(checkpoint.millis)],
            ],
    },
    {
      name: 'Catalog',
      tone: status.catalog.error ? 'bad' : 'good',
      state: status.catalog.error ? 'Fails' : `${formatCompact(status.running)} of ${formatCompact(status.segments)} run`,
      facts: [
        ['revision', status.revision],
        ['state', formatBytes(partitions.reduce((sum, p) => sum + p.stateBytes, 0))],
      ],
    },
  ];
}

export function Health({ status }: { status: ServiceStatus }) {
  return (
    <SimpleGrid cols={{ base: 2, md: 4 }} spacing={{ base: 'xs', sm: 'md' }} component="section" aria-label="Health">
      {parts(status).map(({ name, tone, state, facts }) => (
        <Card key={name} p="sm">
          <Group gap={8} wrap="nowrap">
            <StatusDot tone={tone} />
            <Text size="sm" c="dimmed" fw={500}>
              {name}
            </Text>
          </Group>
          <Text fw={620} fz="1.0625rem" mt={2} className="num">
            {state}
          </Text>
          <dl className={classes.facts}>
            {facts.map(([term, value]) => (
              <div key={term}>
                <dt>{term}</dt>
                <dd className="num">{value}</dd>
              </div>
            ))}
          </dl>
        </Card>
      ))}
    </SimpleGrid>
  );
}
