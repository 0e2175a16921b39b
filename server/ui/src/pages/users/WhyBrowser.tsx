import { TextInput, UnstyledButton } from '@mantine/core';
import { IconCircleCheckFilled, IconCircleMinus, IconSearch, IconStack2 } from '@tabler/icons-react';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useState } from 'react';
import type { Membership, Segment } from '../../api';
import { EmptyState, LinkButton, Panel } from '../../components';
import { plural } from '../../lib/format';
import { WhyCard } from './WhyCard';
import classes from './users.module.css';

const MOST = 200;
const SEARCHED_FROM = 8;

interface WhyBrowserProps {
  userId: string;
  segments: readonly Segment[];
  memberships: readonly Membership[];
}

/** All segments, in or out; the one that is chosen is explained. */
export function WhyBrowser({ userId, segments, memberships }: WhyBrowserProps) {
  const navigate = useNavigate();
  const { segment: chosen } = useSearch({ strict: false });
  const [text, setText] = useState('');
  const inside = new Map(memberships.map((m) => [m.segment, m]));
  const running = segments.filter((s) => s.active).sort((a, b) => a.name.localeCompare(b.name));
  const name = chosen ?? running.find((s) => inside.has(s.name))?.name ?? running[0]?.name;
  const segment = segments.find((s) => s.name === name || s.id === name);
  const found = running.filter((s) => s.name.toLowerCase().includes(text.trim().toLowerCase()));
  const groups = [
    { title: 'In', items: found.filter((s) => inside.has(s.name)) },
    { title: 'Not in', items: found.filter((s) => !inside.has(s.name)).slice(0, MOST) },
  ];
  const choose = (to: string) => {
    void navigate({ to: '/users/$userId', params: { userId }, search: { segment: to }, replace: true, resetScroll: false });
  };

  return (
    <div id="why" style={{ scrollMarginTop: 68 }}>
      <Panel title="Why" description="For each segment, in or out, and how far off." flush>
        {running.length === 0 ? (
          <EmptyState icon={IconStack2} title="No segment runs" text="With a segment, each user is in it or not, and here is why." action={<LinkButton to="/segments/new">New segment</LinkButton>} />
        ) : (
          <div className={classes.browser}>
            <nav className={classes.segments} aria-label="Segments">
              {running.length >= SEARCHED_FROM && (
                <TextInput
                  aria-label="Find a segment"
                  placeholder="Find a segment"
                  leftSection={<IconSearch size={15} aria-hidden />}
                  value={text}
                  onChange={(event) => {
                    setText(event.currentTarget.value);
                  }}
                  mb={4}
                />
              )}
              <div className={classes.choices} tabIndex={-1}>
                {groups.map(
                  ({ title, items }) =>
                    items.length > 0 && (
                      <div key={title} role="group" aria-label={title}>
                        <p className={classes.group} aria-hidden>
                          {title} {plural(items.length, 'segment')}
                        </p>
                        {items.map((s) => (
                          <Choice key={s.id} name={s.name} inside={inside.has(s.name)} current={s.id === segment?.id} onChoose={choose} />
                        ))}
                      </div>
                    ),
                )}
                {found.length === 0 && <p className={classes.group}>No segment of that name</p>}
              </div>
            </nav>
            <div className={classes.why}>
              {segment ? (
                <WhyCard key={segment.id} userId={userId} segment={segment} membership={inside.get(segment.name)} />
              ) : (
                <EmptyState icon={IconStack2} title={`There is no segment ${name ?? ''}`} text="It may have been renamed or deleted. Choose another one." />
              )}
            </div>
          </div>
        )}
      </Panel>
    </div>
  );
}

function Choice({ name, inside, current, onChoose }: { name: string; inside: boolean; current: boolean; onChoose: (name: string) => void }) {
  return (
    <UnstyledButton
      className={classes.choice}
      aria-current={current || undefined}
      onClick={() => {
        onChoose(name);
      }}
    >
      {inside ? (
        <IconCircleCheckFilled size={17} style={{ color: 'var(--app-good)' }} aria-hidden />
      ) : (
        <IconCircleMinus size={17} style={{ color: 'var(--mantine-color-dimmed)' }} aria-hidden />
      )}
      <span className="wrap">{name}</span>
    </UnstyledButton>
  );
}
