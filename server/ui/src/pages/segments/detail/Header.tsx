import { Badge, Button, Group, Text } from '@mantine/core';
import { IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import type { Segment } from '../../../api';
import { LinkButton, PageHeader, RelativeTime, TextLink } from '../../../components';
import { DeleteDialog, PauseDialog, useResume } from '../Dialogs';

interface HeaderProps {
  segment: Segment;
  /** Told that the segment is about to be deleted, or that it stays after all. */
  onLeaving: (leaving: boolean) => void;
}

/** Name and state, and what can be done to it. */
export function Header({ segment, onLeaving }: HeaderProps) {
  const { name, active, emit, window } = segment;
  const [asked, setAsked] = useState<'pause' | 'delete' | null>(null);
  const { resume, resuming } = useResume(segment);
  const navigate = useNavigate();
  const close = () => {
    setAsked(null);
  };
  return (
    <>
      <TextLink to="/segments" size="sm">
        Segments
      </TextLink>
      <PageHeader
        title={name}
        aside={
          <Group gap={6}>
            <Badge color={active ? 'green' : 'gray'}>{active ? 'running' : 'paused'}</Badge>
            {window && <Badge color="gray">{window}</Badge>}
            {emit && (
              <Badge color={emit === 'FINAL' ? 'orange' : 'teal'} title={segment.emitReason ?? undefined}>
                {emit === 'FINAL' ? 'decided at the close' : 'decided at once'}
              </Badge>
            )}
          </Group>
        }
        description={
          <>
            {segment.description && <div className="wrap">{segment.description}</div>}
            <Text size="sm" component="div">
              Version {segment.version}, by {segment.updatedBy} <RelativeTime at={segment.updatedAt} />
            </Text>
          </>
        }
        actions={
          <>
            <LinkButton to="/segments/$name/edit" params={{ name }} leftSection={<IconPencil size={16} />}>
              Edit
            </LinkButton>
            {active ? (
              <Button
                variant="default"
                leftSection={<IconPlayerPause size={16} />}
                onClick={() => {
                  setAsked('pause');
                }}
              >
                Pause
              </Button>
            ) : (
              <Button variant="default" leftSection={<IconPlayerPlay size={16} />} loading={resuming} onClick={resume}>
                Resume
              </Button>
            )}
            <Button
              variant="default"
              c="var(--app-bad)"
              leftSection={<IconTrash size={16} />}
              onClick={() => {
                setAsked('delete');
              }}
            >
              Delete
            </Button>
          </>
        }
      />
      <PauseDialog segment={segment} opened={asked === 'pause'} onClose={close} />
      <DeleteDialog segment={segment} opened={asked === 'delete'} onClose={close} onLeaving={onLeaving} onDeleted={() => void navigate({ to: '/segments' })} />
    </>
  );
}
