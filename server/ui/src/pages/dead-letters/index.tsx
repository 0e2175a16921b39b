import { Badge, Button, Grid, Select, Text, UnstyledButton } from '@mantine/core';
import { IconMailCheck } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import { useDeadLetterCounts, useDeadLetters, useTopics, type Letter } from '../../api';
import { DataTable, EmptyState, GenerateLink, PageHeader, Panel, ProblemAlert, ShortMoment, type Column } from '../../components';
import { formatCount } from '../../lib/format';
import { hasPlace, LetterDrawer } from './LetterDrawer';
import classes from './letters.module.css';
import { Reasons } from './Reasons';
import { reasonOf } from './reasons';
import type { DeadLettersSearch } from './search';

const LISTED = 1_000;

/** Records that were not taken in, by reason, each with what was wrong and how to repair it. */
export default function DeadLettersPage() {
  const filter = useSearch({ from: '/events/dead-letters' });
  const go = useNavigate({ from: '/events/dead-letters' });
  const { data: counted, error: countError } = useDeadLetterCounts();
  const { data: letters, error, refetch } = useDeadLetters({ ...filter, limit: LISTED });
  const { data: topics } = useTopics();
  const [open, setOpen] = useState<Letter>();
  const choose = (change: DeadLettersSearch) => void go({ search: (now) => ({ ...now, ...change }), replace: true });

  const counts = counted?.filter((c) => filter.topic === undefined || c.topic === filter.topic);
  const names = [...new Set([...(topics ?? []).map((t) => t.name), ...(counted ?? []).map((c) => c.topic)])].sort();
  const filtered = filter.reason !== undefined || filter.topic !== undefined;
  const none = counted?.length === 0 && letters?.length === 0 && !filtered;
  return (
    <>
      <PageHeader title="Dead letters" description="Records that were not taken in, or came too late for a window. They never stop the stream." />
      {(error ?? countError) && !letters && <ProblemAlert error={error ?? countError} onRetry={() => void refetch()} />}
      {none ? (
        <Panel title="All well" flush>
          <EmptyState
            icon={IconMailCheck}
            title="There are no dead letters"
            text="A record that is not valid, or late, is kept here with its reason."
            action={<GenerateLink />}
          />
        </Panel>
      ) : (
        <Grid gap="md">
          <Grid.Col span={{ base: 12, md: 4 }}>
            <Reasons
              counts={counts}
              chosen={filter.reason}
              onChoose={(reason) => {
                choose({ reason });
              }}
            />
          </Grid.Col>
          <Grid.Col span={{ base: 12, md: 8 }}>
            <Panel
              title={filter.reason ? reasonOf(filter.reason).name : 'Newest first'}
              description={letters && (letters.length === LISTED ? `The newest ${formatCount(LISTED)}` : `${formatCount(letters.length)} listed`)}
              actions={
                <Select
                  aria-label="Topic"
                  placeholder="All topics"
                  data={names}
                  value={filter.topic ?? null}
                  onChange={(topic) => {
                    choose({ topic: topic ?? undefined });
                  }}
                  clearable
                  clearButtonProps={{ 'aria-label': 'Show all topics' }}
                  size="xs"
                  w={170}
                />
              }
              flush
            >
              <DataTable
                label="Dead letters"
                columns={columns(setOpen)}
                rows={letters}
                rowKey={(letter) => letter.id}
                pageSize={25}
                onOpen={setOpen}
                selected={(letter) => open?.id === letter.id}
                empty={
                  <EmptyState
                    title="None of this kind"
                    action={
                      <Button
                        variant="default"
                        onClick={() => {
                          choose({ reason: undefined, topic: undefined });
                        }}
                      >
                        Show all
                      </Button>
                    }
                  />
                }
              />
            </Panel>
          </Grid.Col>
        </Grid>
      )}
      <LetterDrawer
        letter={open}
        topics={(topics ?? []).map((t) => t.name)}
        onClose={() => {
          setOpen(undefined);
        }}
      />
    </>
  );
}

const columns = (onOpen: (letter: Letter) => void): Column<Letter>[] => [
  { id: 'at', header: 'Found', cell: (letter) => <ShortMoment at={letter.at} />, wide: true, width: 92 },
  {
    id: 'reason',
    header: 'Reason',
    cell: (letter) => (
      <Badge color="orange" size="sm">
        {reasonOf(letter.reason).name}
      </Badge>
    ),
    width: 150,
  },
  {
    id: 'topic',
    header: 'From',
    cell: (letter) => (
      <Text size="sm" c="dimmed" className="mono">
        {letter.topic === 'http' ? 'HTTP' : letter.topic}
        {hasPlace(letter) && (
          <>
            <br />
            {letter.partition}/{letter.offset}
          </>
        )}
      </Text>
    ),
    wide: true,
    width: 160,
  },
  {
    id: 'record',
    header: 'Record',
    cell: (letter) => (
      <UnstyledButton
        className={classes.snippet}
        onClick={() => {
          onOpen(letter);
        }}
        aria-label={`Open the dead letter: ${reasonOf(letter.reason).name}`}
      >
        {letter.raw ?? `bytes ${letter.rawHex ?? ''}`}
      </UnstyledButton>
    ),
  },
];
