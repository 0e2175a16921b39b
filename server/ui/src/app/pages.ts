import { IconBolt, IconGauge, IconMailX, IconSettings, IconSitemap, IconStack2, IconUserSearch, type Icon } from '@tabler/icons-react';

export interface PageLink {
  to: '/' | '/segments' | '/users' | '/explain' | '/events/generate' | '/events/dead-letters' | '/settings';
  label: string;
  /** What one does there, for the look-up. */
  what: string;
  icon: Icon;
  group?: string;
}

export const PAGES: readonly PageLink[] = [
  { to: '/', label: 'Dashboard', what: 'How the service does, live', icon: IconGauge },
  { to: '/segments', label: 'Segments', what: 'Who counts as what', icon: IconStack2 },
  { to: '/users', label: 'Users', what: 'What a user is in, and why', icon: IconUserSearch },
  { to: '/explain', label: 'Explain', what: 'How segments run and what they share', icon: IconSitemap },
  { to: '/events/generate', label: 'Generator', what: 'Realistic events, to try segments out', icon: IconBolt, group: 'Events' },
  { to: '/events/dead-letters', label: 'Dead letters', what: 'Records that were not taken in', icon: IconMailX, group: 'Events' },
  { to: '/settings', label: 'Settings', what: 'Status, configuration, token', icon: IconSettings, group: 'Service' },
];
