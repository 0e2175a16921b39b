import { ActionIcon, Menu, Modal, Text } from '@mantine/core';
import { notifications } from '@mantine/notifications';
import { IconDots, IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { asProblem, ProblemError, useDeleteSegment, useMe, useSetActive, type Segment } from '../../api';
import { ConfirmModal, SegmentName } from '../../components';
import { plural } from '../../lib/format';
import classes from './segments.module.css';

type Asked = 'pause' | 'delete' | null;

/** What can be done with a segment: edit, pause or resume, delete. */
export function Actions({ segment }: { segment: Segment }) {
  const { name, active } = segment;
  const [asked, setAsked] = useState<Asked>(null);
  const remove = useDeleteSegment();
  const setActive = useSetActive();
  const { data: me } = useMe();
  const mayWrite = me?.role !== 'read';
  const close = () => {
    setAsked(null);
    remove.reset();
    setActive.reset();
  };
  const say = (message: string) => notifications.show({ color: 'teal', message });
  const pause = () => {
    setActive.mutate({ name, active: false }, { onSuccess: () => { close(); say(`${name} is paused`); } });
  };
  const resume = () => {
    setActive.mutate({ name, active: true }, { onSuccess: () => { say(`${name} is active`); }, onError: (error) => { notifications.show({ color: 'red', title: `${name} was not resumed`, message: asProblem(error).detail }); } });
  };
  const members = segment.size === 0 ? '' : ` Its ${plural(segment.size, 'member')} leave.`;
  const dependants = segment.readBy ?? dependantsOf(remove.error ?? setActive.error) ?? [];
  return (
    <>
      <Menu position="bottom-end" withinPortal>
        <Menu.Target>
          <ActionIcon aria-label={`Actions of ${name}`}>
            <IconDots size={18} />
          </ActionIcon>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item component={Link} to="/segments/$name/edit" params={{ name } as never} leftSection={<IconPencil size={16} />}>
            Edit
          </Menu.Item>
          {active ? (
            <Menu.Item leftSection={<IconPlayerPause size={16} />} disabled={!mayWrite} onClick={() => { setAsked('pause'); }}>
              Pause
            </Menu.Item>
          ) : (
            <Menu.Item leftSection={<IconPlayerPlay size={16} />} disabled={!mayWrite} onClick={resume}>
              Resume
            </Menu.Item>
          )}
          <Menu.Divider />
          <Menu.Item color="red" leftSection={<IconTrash size={16} />} disabled={!mayWrite} onClick={() => { setAsked('delete'); }}>
            Delete
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {dependants.length > 0 ? (
        <InUse opened={asked !== null} onClose={close} name={name} dependants={dependants} verb={asked === 'pause' ? 'paused' : 'deleted'} />
      ) : (
        <>
          <ConfirmModal opened={asked === 'pause'} onClose={close} title={`Pause ${name}?`} confirm="Pause" onConfirm={pause} loading={setActive.isPending} error={setActive.error}>
            <Text size="sm">It decides nothing until it is resumed.{members}</Text>
          </ConfirmModal>
          <ConfirmModal
            opened={asked === 'delete'}
            onClose={close}
            title={`Delete ${name}?`}
            confirm="Delete"
            danger
            onConfirm={() => { remove.mutate(name, { onSuccess: () => { say(`${name} is deleted`); } }); }}
            loading={remove.isPending}
            error={remove.error}
          >
            <Text size="sm">It cannot be brought back.{members}</Text>
          </ConfirmModal>
        </>
      )}
    </>
  );
}

/** The segments that a refusal names. */
const dependantsOf = (error: unknown) => (error instanceof ProblemError && error.problem.status === 409 && error.problem.segments?.length ? error.problem.segments : null);

interface InUseProps {
  opened: boolean;
  onClose: () => void;
  name: string;
  dependants: readonly string[];
  verb: string;
}

function InUse({ opened, onClose, name, dependants, verb }: InUseProps) {
  const [one, other] = dependants.length === 1 ? ['Another segment reads', 'it'] : [`${plural(dependants.length, 'segment')} read`, 'them'];
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      title={
        <Text fw={640} size="lg" component="span">
          {name} is in use
        </Text>
      }
    >
      <Text size="sm">
        {one} {name}, so it cannot be {verb}. Change, pause or delete {other} first:
      </Text>
      <ul className={classes.dependants}>
        {dependants.map((dependant) => (
          <li key={dependant}>
            <SegmentName name={dependant} />
          </li>
        ))}
      </ul>
    </Modal>
  );
}
