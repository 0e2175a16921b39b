// What is asked before a segment is paused or deleted.
import { Modal, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { asProblem, useDeleteSegment, useSetActive, type Segment } from '../../api';
import { ConfirmModal, SegmentName } from '../../components';
import { plural } from '../../lib/format';
import classes from './segments.module.css';

export interface DialogProps {
  segment: Segment;
  opened: boolean;
  onClose: () => void;
}

const say = (message: string) => notifications.show({ color: 'teal', message });

/** What becomes of its members. */
const members = ({ size }: Segment) => (size > 0 ? `Its ${plural(size, 'member')} leave now.` : 'It has no members now.');

/** The segments that read it: those that are known, or that a refusal names. */
const readersOf = (segment: Segment, error: unknown) => (error ? (asProblem(error).segments ?? segment.readBy) : segment.readBy);

export function PauseDialog({ segment, opened, onClose }: DialogProps) {
  const pause = useSetActive();
  const { name } = segment;
  const readers = readersOf(segment, pause.error);
  const close = () => {
    pause.reset();
    onClose();
  };
  if (readers.length > 0) return <InUse opened={opened} onClose={close} name={name} readers={readers} done="paused" />;
  return (
    <ConfirmModal
      opened={opened}
      onClose={close}
      title={`Pause ${name}?`}
      confirm="Pause segment"
      loading={pause.isPending}
      error={pause.error}
      onConfirm={() => {
        const onSuccess = () => {
          close();
          say(`${name} is paused`);
        };
        pause.mutate({ name, active: false }, { onSuccess });
      }}
    >
      <Text size="md">{members(segment)} Resuming lets events bring users in again.</Text>
    </ConfirmModal>
  );
}

interface DeleteDialogProps extends DialogProps {
  /** Told that it is about to be deleted, or that it stays after all. */
  onLeaving?: (leaving: boolean) => void;
  onDeleted?: () => void;
}

export function DeleteDialog({ segment, opened, onClose, onLeaving, onDeleted }: DeleteDialogProps) {
  const remove = useDeleteSegment();
  const { name } = segment;
  const readers = readersOf(segment, remove.error);
  const close = () => {
    remove.reset();
    onClose();
  };
  if (readers.length > 0) return <InUse opened={opened} onClose={close} name={name} readers={readers} done="deleted" />;
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
        onLeaving?.(true);
        const onSuccess = () => {
          say(`${name} is deleted`);
          onDeleted?.();
        };
        remove.mutate(name, { onSuccess, onError: () => onLeaving?.(false) });
      }}
    >
      <Text size="md">{members(segment)} This cannot be undone here.</Text>
    </ConfirmModal>
  );
}

interface InUseProps {
  opened: boolean;
  onClose: () => void;
  name: string;
  readers: readonly string[];
  done: 'paused' | 'deleted';
}

function InUse({ opened, onClose, name, readers, done }: InUseProps) {
  const [some, them] = readers.length === 1 ? ['Another segment reads', 'it'] : [`${plural(readers.length, 'segment')} read`, 'them'];
  return (
    <Modal opened={opened} onClose={onClose} title={`${name} is in use`}>
      <Text size="md">
        {some} {name}, so it cannot be {done}. Change, pause or delete {them} first:
      </Text>
      <ul className={classes.dependants}>
        {readers.map((reader) => (
          <li key={reader}>
            <SegmentName name={reader} />
          </li>
        ))}
      </ul>
    </Modal>
  );
}

/** Lets a segment run again, and says so. */
export function useResume({ name }: Segment) {
  const { mutate, isPending } = useSetActive();
  const resume = () => {
    mutate(
      { name, active: true },
      {
        onSuccess: () => say(`${name} is active`),
        onError: (error) => notifications.show({ color: 'red', title: `${name} was not resumed`, message: asProblem(error).detail }),
      },
    );
  };
  return { resume, resuming: isPending };
}
