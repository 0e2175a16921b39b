import { IconUsers } from '@tabler/icons-react';
import type { ResultStream, Segment } from '../../../api';
import { EmptyState, GenerateLink, Moves, Panel, StreamLine } from '../../../components';

/** Who entered and left, as it happens. */
export function Movement({ segment, stream }: { segment: Segment; stream: ResultStream }) {
  return (
    <Panel title="Entered and left" description={<StreamLine stream={stream} />} flush>
      <Moves moves={stream.loaded ? stream.results : undefined} ofOne fill empty={<Nobody active={segment.active} />} />
    </Panel>
  );
}

function Nobody({ active }: { active: boolean }) {
  return (
    <EmptyState
      icon={IconUsers}
      title="Nobody entered or left yet"
      text={active ? 'It is shown here the moment that it happens.' : 'Resume the segment to let events bring users in.'}
      action={active && <GenerateLink />}
    />
  );
}
