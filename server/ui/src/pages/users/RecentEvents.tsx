import { IconBolt } from '@tabler/icons-react';
import type { UserEvent } from '../../api';
import { EmptyState, GenerateLink, Panel } from '../../components';
import { Events } from './Events';

export function RecentEvents({ events }: { events: readonly UserEvent[] | undefined }) {
  return (
    <Panel title="Recent events" description="The newest that are kept, whether or not a segment takes them in." flush>
      <Events
        label="Recent events"
        events={events}
        pageSize={10}
        empty={
          <EmptyState
            icon={IconBolt}
            title="No event is kept of this user"
            text="Events are listed here the moment they arrive."
            action={<GenerateLink />}
          />
        }
      />
    </Panel>
  );
}
