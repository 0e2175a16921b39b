import { Spotlight, type SpotlightActionGroupData } from '@mantine/spotlight';
import { IconPlus, IconSearch, IconStack2, IconUser } from '@tabler/icons-react';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { useAllSegments } from '../api';
import { plural } from '../lib/format';
import { PAGES } from './pages';

/** Pages, segments by name, and a user by id: Ctrl- or Cmd-K. */
export default function Lookup() {
  const navigate = useNavigate();
  const [query, setQuery] = useState('');
  const [opened, setOpened] = useState(true);
  const { data: segments } = useAllSegments(opened);
  const text = query.trim().toLowerCase();
  const fits = (...parts: string[]) => text === '' || parts.some((part) => part.toLowerCase().includes(text));

  const pages = PAGES.filter((p) => fits(p.label, p.what)).map(({ to, label, what, icon: Icon }) => ({
    id: to,
    label,
    description: what,
    leftSection: <Icon size={18} stroke={1.7} />,
    onClick: () => void navigate({ to }),
  }));
  const found = (segments ?? [])
    .filter((s) => fits(s.name, s.description))
    .slice(0, text === '' ? 5 : 12)
    .map((s) => ({
      id: s.id,
      label: s.name,
      description: `${plural(s.size, 'member')}${s.active ? '' : ', paused'}`,
      leftSection: <IconStack2 size={18} stroke={1.7} />,
      onClick: () => void navigate({ to: '/segments/$name', params: { name: s.name } }),
    }));
  const user = {
    id: 'user',
    label: `User ${query.trim()}`,
    description: 'What this user is in, and why',
    leftSection: <IconUser size={18} stroke={1.7} />,
    onClick: () => void navigate({ to: '/users/$userId', params: { userId: query.trim() } }),
  };
  const create = {
    id: 'new',
    label: 'New segment',
    description: 'As rules or as SQL',
    leftSection: <IconPlus size={18} stroke={1.7} />,
    onClick: () => void navigate({ to: '/segments/new' }),
  };
  const groups: SpotlightActionGroupData[] = [
    { group: 'Segments', actions: [...found, ...(fits(create.label) ? [create] : [])] },
    { group: 'Users', actions: text === '' ? [] : [user] },
    { group: 'Pages', actions: pages },
  ].filter((g) => g.actions.length > 0);

  return (
    <Spotlight
      actions={groups}
      query={query}
      onQueryChange={setQuery}
      filter={(_, actions) => actions}
      shortcut={null}
      onSpotlightOpen={() => {
        setOpened(true);
      }}
      onSpotlightClose={() => {
        setOpened(false);
      }}
      nothingFound="Nothing of that name"
      highlightQuery
      scrollable
      maxHeight={420}
      searchProps={{ leftSection: <IconSearch size={18} />, placeholder: 'A page, a segment or a user id', 'aria-label': 'Look up' }}
    />
  );
}
