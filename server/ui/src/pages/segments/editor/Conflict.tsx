import { Button, Group, Modal, Text } from '@mantine/core';
import type { Segment } from '../../../api';
import { RelativeTime } from '../../../components';
import { versionText, type Names } from './draft';
import { Diff } from './Versions';

interface ConflictProps {
  opened: boolean;
  onClose: () => void;
  /** The segment as it was when one began, and as it is now. */
  base: Segment;
  now: Segment;
  names: Names;
  onTakeTheirs: () => void;
  onKeepMine: () => void;
  saving: boolean;
}

const textOf = (s: Segment, names: Names) => versionText({ name: s.name, active: s.active, body: s.type && s.type !== 'SQL' ? { ...s, sql: undefined } : { sql: s.sql } }, names);

/** Somebody else saved the segment while one was editing it. */
export function Conflict({ opened, onClose, base, now, names, onTakeTheirs, onKeepMine, saving }: ConflictProps) {
  const [before, after] = [textOf(base, names), textOf(now, names)];
  return (
    <Modal
      opened={opened}
      onClose={onClose}
      size="lg"
      title="Somebody else changed this segment"
    >
      <Text size="sm">
        <b>{now.updatedBy}</b> saved version {now.version} <RelativeTime at={now.updatedAt} />; you began with version {base.version}.{' '}
        {before === after ? 'What it means is as before.' : 'This is what they changed:'}
      </Text>
      {before !== after && <Diff before={before} after={after} label="What they changed" />}
      <Group justify="flex-end" gap="xs" mt="md">
        <Button variant="default" onClick={onClose} data-autofocus>
          Go on editing
        </Button>
        <Button variant="default" onClick={onTakeTheirs}>
          Take theirs
        </Button>
        <Button color="red.9" loading={saving} onClick={onKeepMine}>
          Save mine over it
        </Button>
      </Group>
    </Modal>
  );
}
