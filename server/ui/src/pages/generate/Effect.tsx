import { IconUsers } from '@tabler/icons-react';
import { CHANGES, useResultStream } from '../../api';
import { EmptyState, Moves, Panel, TextLink } from '../../components';
import { isMade } from './events';

const SHOWN = 12;

/** Who of the users that are made enters or leaves something. */
export function Effect({ prefix }: { prefix: string }) {
  const { results } = useResultStream({ keep: 500, kinds: CHANGES, every: 500 });
  return (
    <Panel
      title="What comes of it"
      description={
        <>
          Users with this prefix who enter or leave a segment, as it happens. All of them are on the{' '}
          <TextLink to="/" inherit underline="always">
            dashboard
          </TextLink>
          .
        </>
      }
      flush
    >
      <Moves
        label="Entered and left, newest first"
        moves={results.filter((r) => isMade(r.userId, prefix)).slice(0, SHOWN)}
        empty={<EmptyState icon={IconUsers} title="Nobody entered or left yet" text="Some segments are only decided when their window closes." />}
      />
    </Panel>
  );
}
