import { SimpleGrid, Text } from '@mantine/core';
import type { ReactNode } from 'react';
import type { ServiceStatus } from '../../api';
import { Moment, Panel, RelativeTime, TextLink } from '../../components';
import { formatBytes, formatCount, formatDuration } from '../../lib/format';

export function Service({ status }: { status: ServiceStatus }) {
  const { checkpoint, sink } = status;
  const facts: [string, ReactNode][] = [
    ['Version', status.version],
    ['Started', <RelativeTime key="s" at={status.startedAt} />],
    [
      'Segments',
      <TextLink key="l" to="/segments">
        {formatCount(status.running)} of {formatCount(status.segments)} run
      </TextLink>,
    ],
    ['Catalog revision', formatCount(status.revision)],
    ['Workers', formatCount(status.workers)],
    ['Events kept', formatBytes(status.logBytes)],
    ['Checkpoints', `${formatCount(checkpoint.published)} saved`],
    ['Last checkpoint', checkpoint.at == null ? 'none yet' : <Moment key="c" at={checkpoint.at} />],
    ['Its size', checkpoint.at == null ? '–' : `${formatBytes(checkpoint.bytes)} in ${formatDuration(checkpoint.millis)}`],
    ['Sink', sink.kind],
    ['Results written', `${formatCount(sink.results)} in ${formatCount(sink.writes)} writes`],
    ['Sent again', formatCount(sink.retries)],
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
