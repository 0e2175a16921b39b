import { SimpleGrid, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { ServiceStatus } from '../../api';
import { Panel, RelativeTime, TextLink } from '../../components';
import { formatBytes, formatCount, formatDuration, plural } from '../../lib/format';

export function Service({ status }: { status: ServiceStatus }) {
  const { source, catalog, checkpoint, sink, latencyMs } = status;
  const letters = Object.values(status.deadLetters).reduce((sum, n) => sum + n, 0);
  const facts: [string, ReactNode][] = [
    ['Version', status.version],
    ['Started', <RelativeTime key="s" at={status.startedAt} />],
    [
      'Segments',
      <TextLink key="l" to="/segments">
        {formatCount(status.running)} of {formatCount(status.segments)} run
      </TextLink>,
    ],
    ['Catalog', `${catalog.kind}, revision ${formatCount(status.revision)}`],
    ['Source', `${source.kind}, ${plural(source.topics.length, 'topic')}`],
    ['Workers', formatCount(status.workers)],
    ['Events kept', formatBytes(status.logBytes)],
    ['Checkpoints', `${formatCount(checkpoint.published)} saved`],
    ['Last checkpoint', checkpoint.at == null ? 'none yet' : <RelativeTime key="c" at={checkpoint.at} />],
    ['Its size', checkpoint.at == null ? '–' : `${formatBytes(checkpoint.bytes)} in ${formatDuration(checkpoint.millis)}`],
    ['Sink', sink.kind],
    ['From event to result', latencyMs ? `${formatDuration(latencyMs.p50)}, 99 % in ${formatDuration(latencyMs.p99)}` : 'no results lately'],
    ['Results written', `${formatCount(sink.results)} in ${formatCount(sink.writes)} writes`],
    ['Sent again', formatCount(sink.retries)],
    [
      'Dead letters',
      <TextLink key="d" to="/events/dead-letters">
        {formatCount(letters)} since the start
      </TextLink>,
    ],
    ['Other members', status.members.length === 0 ? 'none' : status.members.map((m) => m.url).join(', ')],
  ];
  return (
    <Panel title="Service" style={{ height: '100%' }}>
      <SimpleGrid cols={{ base: 2, sm: 3 }} component="dl" m={0} spacing="md" verticalSpacing="sm">
        {facts.map(([term, value]) => (
          <div key={term}>
            <Text component="dt" size="sm" c="dimmed">
              {term}
            </Text>
            <Text component="dd" m={0} fw={550} className="num wrap">
              {value}
            </Text>
          </div>
        ))}
      </SimpleGrid>
    </Panel>
  );
}
