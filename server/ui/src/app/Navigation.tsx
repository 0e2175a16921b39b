import { Text } from '@mantine/core';
import { IconApi, IconExternalLink } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { Fragment } from 'react';
import { useStatus } from '../api';
import { PAGES } from './pages';
import classes from './shell.module.css';

/** The pages, on the left. */
export function Navigation({ onGo }: { onGo: () => void }) {
  const { data: status } = useStatus();
  const groups = [undefined, 'Events', 'Service'];
  return (
    <>
      <nav aria-label="Pages" className={classes.nav}>
        {groups.map((group) => (
          <Fragment key={group ?? ''}>
            {group && <Text className={classes.group}>{group}</Text>}
            {PAGES.filter((page) => page.group === group).map(({ to, label, icon: Icon }) => (
              <Link key={to} to={to} className={classes.link} activeOptions={{ exact: to === '/', includeSearch: false }} onClick={onGo}>
                <Icon size={17} stroke={1.8} aria-hidden />
                {label}
              </Link>
            ))}
          </Fragment>
        ))}
        <a className={classes.link} href="/docs" target="_blank" rel="noreferrer">
          <IconApi size={17} stroke={1.8} aria-hidden />
          API
          <IconExternalLink size={13} style={{ opacity: 0.6 }} aria-label="opens in another tab" />
        </a>
      </nav>
      {status && <div className={classes.version}>Cohort {status.version}</div>}
    </>
  );
}
