import { AppShell, Burger, Group, Kbd, Text, UnstyledButton } from '@mantine/core';
import { useDisclosure, useHotkeys, useMediaQuery, useOs } from '@mantine/hooks';
import { spotlight } from '@mantine/spotlight';
import { IconSearch } from '@tabler/icons-react';
import { Link, Outlet } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import { ConnectionBanner, ConnectionState } from './Connection';
import { Logo } from './Logo';
import { Navigation } from './Navigation';
import { SchemeSwitch } from './SchemeSwitch';
import classes from './shell.module.css';
import { TokenModal } from './TokenModal';

const Lookup = lazy(() => import('./Lookup'));

/** What surrounds every page. */
export function Shell() {
  const [menu, { toggle, close }] = useDisclosure();
  const mac = useOs() === 'macos';
  const phone = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false });
  const hidden = phone && !menu;
  // Loaded when it is first asked for.
  const [lookup, setLookup] = useState(false);
  const lookUp = () => {
    setLookup(true);
    spotlight.open();
  };
  useHotkeys([['mod+K', lookUp]], []);
  useHotkeys([['Escape', close]]);
  return (
    <>
      <a className={classes.skip} href="#page">
        To the content
      </a>
      <AppShell layout="alt" header={{ height: 52 }} navbar={{ width: 216, breakpoint: 'sm', collapsed: { mobile: !menu } }} padding={{ base: 'sm', sm: 'lg' }}>
        <AppShell.Header className={classes.header}>
          <Group h="100%" px={{ base: 'sm', sm: 'lg' }} gap="sm" wrap="nowrap">
            <Burger opened={menu} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={menu ? 'Close the menu' : 'Open the menu'} aria-expanded={menu} />
            <UnstyledButton className={classes.search} onClick={lookUp} aria-label="Look up pages, segments and users">
              <IconSearch size={15} aria-hidden />
              <Text size="sm" component="span" truncate>
                Look up a segment or user
              </Text>
              <Kbd size="xs" visibleFrom="sm" aria-hidden>
                {mac ? '⌘' : 'Ctrl'} K
              </Kbd>
            </UnstyledButton>
            <div style={{ flex: 1 }} />
            <ConnectionState />
            <SchemeSwitch />
          </Group>
        </AppShell.Header>
        <AppShell.Navbar className={classes.navbar} component="div" inert={hidden}>
          <Group justify="space-between" h={52} px="md" wrap="nowrap">
            <Link to="/" className={classes.brand} onClick={close} aria-label="Cohort, dashboard">
              <Logo />
              <span>Cohort</span>
            </Link>
            <Burger opened onClick={close} hiddenFrom="sm" size="sm" aria-label="Close the menu" />
          </Group>
          <Navigation onGo={close} />
        </AppShell.Navbar>
        <AppShell.Main id="page" tabIndex={-1} className={classes.main}>
          <ConnectionBanner />
          <div className={classes.page}>
            <Outlet />
          </div>
        </AppShell.Main>
      </AppShell>
      {lookup && (
        <Suspense>
          <Lookup />
        </Suspense>
      )}
      <TokenModal />
    </>
  );
}
