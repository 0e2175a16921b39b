import { Alert, Drawer, Stack, Text, Title } from '@mantine/core';
import { IconMailX } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Letter } from '../../api';
import { CopyButton, Moment } from '../../components';
import { formatBytes, formatCount } from '../../lib/format';
import classes from './letters.module.css';
import { RawRecord } from './RawRecord';
import { reasonOf } from './reasons';
import { Repair } from './Repair';

interface LetterDrawerProps {
  letter: Letter | undefined;
  topics: readonly string[];
  onClose: () => void;
}

/** One dead letter: what was wrong, the record, and how to repair it. */
export function LetterDrawer({ letter, topics, onClose }: LetterDrawerProps) {
  return (
    <Drawer
      opened={letter !== undefined}
      onClose={onClose}
      position="right"
      size="lg"
      title="Dead letter"
    >
      {letter && <Content letter={letter} topics={topics} />}
    </Drawer>
  );
}

function Content({ letter, topics }: { letter: Letter; topics: readonly string[] }) {
  const raw = letter.raw ?? letter.rawHex ?? '';
  const bytes = letter.raw == null ? raw.length / 2 : new TextEncoder().encode(raw).length;
  const facts: [string, ReactNode][] = [
    ['Found', <Moment key="at" at={letter.at} />],
    ['Topic', letter.topic === 'http' ? 'sent over HTTP' : letter.topic],
    ...(hasPlace(letter) ? ([['Partition and offset', `${letter.partition} / ${formatCount(letter.offset)}`]] satisfies [string, ReactNode][]) : []),
    ['Size', formatBytes(bytes)],
  ];
  return (
    <Stack gap="md">
      <Alert color="orange" variant="light" icon={<IconMailX size={18} />} title={reasonOf(letter.reason).name}>
        <Text size="sm" className="wrap">
          {letter.error ? `${letter.error[0]?.toUpperCase() ?? ''}${letter.error.slice(1)}.` : <span className="mono">{letter.reason}</span>}
        </Text>
      </Alert>
      <dl className={classes.facts}>
        {facts.map(([term, value]) => (
          <div key={term}>
            <dt>{term}</dt>
            <dd className="num wrap">{value}</dd>
          </div>
        ))}
      </dl>
      <section>
        <div className={classes.heading}>
          <Title order={3}>Record</Title>
          <CopyButton value={raw} what="the record as it came" />
        </div>
        <RawRecord letter={letter} />
      </section>
      <section>
        <Title order={3} mb={6}>
          Repair and send again
        </Title>
        <Repair letter={letter} topics={topics} />
      </section>
    </Stack>
  );
}

/** Whether it has a place in a log; what was refused before has none. */
export const hasPlace = (letter: Letter): boolean => letter.offset != null && letter.offset >= 0;
