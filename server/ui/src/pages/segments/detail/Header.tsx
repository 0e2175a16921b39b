import { Badge, Button, Group, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useDeleteSegment, useSetActive, type Segment } from '../../../api';
import { ConfirmModal, LinkButton, PageHeader, RelativeTime, SegmentName, TextLink } from '../../../components';
import { plural } from '../../../lib/format';

interface HeaderProps {
  segment: Segment;
  /** Told that the segment is about to be deleted, or that it stays after all. */
  onLeaving: (leaving: boolean) => void;
}

/** Name and state, and what can be done to it. */
export function Header({ segment, onLeaving }: HeaderProps) {
  const { name, active, emit, window } = segment;
  const [asked, setAsked] = useState<'pause' | 'delete' | null>(null);
  const resume = useSetActive();
  const toggle = () => {
    resume.mutate({ name, active: true }, { onSuccess: () => notifications.show({ message: `${name} runs again` }) });
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
              <Button variant="default" leftSection={<IconPlayerPlay size={16} />} loading={resume.isPending} onClick={toggle}>
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
      <Pause segment={segment} opened={asked === 'pause'} onClose={() => { setAsked(null); }} />
      <Delete segment={segment} onLeaving={onLeaving} opened={asked === 'delete'} onClose={() => { setAsked(null); }} />
    </>
  );
}

interface QuestionProps extends Pick<HeaderProps, 'segment'> {
  opened: boolean;
  onClose: () => void;
}

function Readers({ names, what }: { names: readonly string[]; what: string }) {
  if (names.length === 0) return null;
  return (
    <Text size="md" mt="xs" component="div">
      {what}
      <Group gap="xs" mt={4}>
        {names.map((name) => (
          <SegmentName key={name} name={name} />
        ))}
      </Group>
    </Text>
  );
}

function Pause({ segment: { name, size, readBy }, opened, onClose }: QuestionProps) {
  const pause = useSetActive();
  const close = () => {
    pause.reset();
    onClose();
  };
  return (
    <ConfirmModal
      opened={opened}
      onClose={close}
      title={`Pause ${name}?`}
      confirm="Pause segment"
      loading={pause.isPending}
      error={pause.error}
      onConfirm={() => {
        pause.mutate({ name, active: false }, { onSuccess: close });
      }}
    >
      <Text size="md">
        {size > 0 ? `Its ${plural(size, 'member')} leave now.` : 'It has no members now.'} Resuming lets events bring users in again.
      </Text>
      <Readers names={readBy} what="These segments read it and have to be paused or changed first:" />
    </ConfirmModal>
  );
}

function Delete({ segment: { name, size, readBy }, onLeaving, opened, onClose }: QuestionProps & HeaderProps) {
  const navigate = useNavigate();
  const remove = useDeleteSegment();
  const close = () => {
    remove.reset();
    onClose();
  };
  return (
    <ConfirmModal
      opened={opened}
      onClose={close}
      title={`Delete ${name}?`}
      confirm="Delete segment"
      danger
      typed={name}
      loading={remove.isPending}
      error={remove.error}
      onConfirm={() => {
        onLeaving(true);
        remove.mutate(name, {
          onError: () => {
            onLeaving(false);
          },
          onSuccess: () => {
            notifications.show({ message: `${name} is deleted` });
            void navigate({ to: '/segments' });
          },
        });
      }}
    >
      <Text size="md">{size > 0 ? `Its ${plural(size, 'member')} leave now.` : 'It has no members now.'} This cannot be undone here.</Text>
      <Readers names={readBy} what="These segments read it and have to be deleted or changed first:" />
    </ConfirmModal>
  );
}
