import { ActionIcon, Menu } from '@mantine/core';
import { IconDots, IconPencil, IconPlayerPause, IconPlayerPlay, IconTrash } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { useMe, type Segment } from '../../api';
import { DeleteDialog, PauseDialog, useResume } from './Dialogs';

/** What can be done with a segment: edit, pause or resume, delete. */
export function Actions({ segment }: { segment: Segment }) {
  const { name, active } = segment;
  const [asked, setAsked] = useState<'pause' | 'delete' | null>(null);
  const { resume } = useResume(segment);
  const { data: me } = useMe();
  const mayWrite = me?.role !== 'read';
  const close = () => {
    setAsked(null);
  };
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
      <PauseDialog segment={segment} opened={asked === 'pause'} onClose={close} />
      <DeleteDialog segment={segment} opened={asked === 'delete'} onClose={close} />
    </>
  );
}
