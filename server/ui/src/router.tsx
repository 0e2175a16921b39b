import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from '@tanstack/react-router';
import { allSegmentsQuery, historyQuery, statusQuery } from './api';
import { NotFound, PageError, PageLoading } from './app/errors';
import { queryClient } from './app/queryClient';
import { Shell } from './app/Shell';
import DashboardPage from './pages/dashboard';
import { deadLettersSearch } from './pages/dead-letters/search';
import { explainSearch } from './pages/explain/search';
import { generateSearch } from './pages/generate/search';
import { detailSearch } from './pages/segments/detail/search';
import { editorSearch } from './pages/segments/editor/search';
import { segmentsSearch } from './pages/segments/search';
import { usersSearch } from './pages/users/search';

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

// The page that one begins with is no file of its own, and nothing that it needs waits for another.
const dashboard = createRoute({
  getParentRoute: () => root,
  path: '/',
  loader: () => {
    void queryClient.prefetchQuery(statusQuery);
    void queryClient.prefetchQuery(historyQuery);
    void queryClient.prefetchQuery(allSegmentsQuery);
  },
  component: DashboardPage,
});

const segments = createRoute({
  getParentRoute: () => root,
  path: '/segments',
  validateSearch: segmentsSearch,
  component: lazyRouteComponent(() => import('./pages/segments')),
});
const newSegment = createRoute({
  getParentRoute: () => root,
  path: '/segments/new',
  validateSearch: editorSearch,
  component: lazyRouteComponent(() => import('./pages/segments/editor')),
});
const editSegment = createRoute({
  getParentRoute: () => root,
  path: '/segments/$name/edit',
  validateSearch: editorSearch,
  component: lazyRouteComponent(() => import('./pages/segments/editor')),
});
const segment = createRoute({
  getParentRoute: () => root,
  path: '/segments/$name',
  validateSearch: detailSearch,
  component: lazyRouteComponent(() => import('./pages/segments/detail')),
});

const users = createRoute({
  getParentRoute: () => root,
  path: '/users',
  validateSearch: usersSearch,
  component: lazyRouteComponent(() => import('./pages/users')),
});
const user = createRoute({
  getParentRoute: () => root,
  path: '/users/$userId',
  validateSearch: usersSearch,
  component: lazyRouteComponent(() => import('./pages/users')),
});

const explain = createRoute({
  getParentRoute: () => root,
  path: '/explain',
  validateSearch: explainSearch,
  component: lazyRouteComponent(() => import('./pages/explain')),
});

const events = createRoute({
  getParentRoute: () => root,
  path: '/events',
  beforeLoad: () => {
    throw redirect({ to: '/events/generate' });
  },
});
const generate = createRoute({
  getParentRoute: () => root,
  path: '/events/generate',
  validateSearch: generateSearch,
  component: lazyRouteComponent(() => import('./pages/generate')),
});
const deadLetters = createRoute({
  getParentRoute: () => root,
  path: '/events/dead-letters',
  validateSearch: deadLettersSearch,
  component: lazyRouteComponent(() => import('./pages/dead-letters')),
});

// A shorter address, which one may guess.
const deadLettersAlias = createRoute({
  getParentRoute: () => root,
  path: '/dead-letters',
  validateSearch: deadLettersSearch,
  beforeLoad: ({ search }) => {
    throw redirect({ to: '/events/dead-letters', search, replace: true });
  },
});

const settings = createRoute({ getParentRoute: () => root, path: '/settings', component: lazyRouteComponent(() => import('./pages/settings')) });

export const router = createRouter({
  routeTree: root.addChildren([
    dashboard,
    segments,
    newSegment,
    editSegment,
    segment,
    users,
    user,
    explain,
    events,
    generate,
    deadLetters,
    deadLettersAlias,
    settings,
  ]),
  defaultPreload: 'intent',
  defaultPendingComponent: PageLoading,
  defaultPendingMs: 200,
  defaultErrorComponent: PageError,
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
