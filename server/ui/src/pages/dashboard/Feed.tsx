import { IconPlayerPause, IconPlayerPlay, IconUsers } from '@tabler/icons-react';
import { useState } from 'react';
import { CHANGES, useResultStream } from '../../api';
import { EmptyState, IconAction, Moves, Panel, StreamLine } from '../../components';

const KEPT = 60;

/** Who enters and leaves, as it happens. */
export function Feed() {
  const [paused, setPaused] = useState(false);
  const stream = useResultStream({ keep: KEPT, before: KEPT, kinds: CHANGES, paused, every: 1_000 });
  return (
    <Panel
      title="Entered and left"
      description={<StreamLine stream={stream} />}
      actions={
        <IconAction
          label={paused ? 'Go on' : 'Hold'}
          onClick={() => {
            setPaused(!paused);
          }}
        >
          {paused ? <IconPlayerPlay size={17} /> : <IconPlayerPause size={17} />}
        </IconAction>
      }
      flush
      style={{ height: '100%' }}
    >
      <Moves
        moves={stream.loaded ? stream.results : undefined}
        fill
        empty={<EmptyState icon={IconUsers} title="Nobody entered or left yet" text="It is shown here the moment that it happens." />}
      />
    </Panel>
  );
}
