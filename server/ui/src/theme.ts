import { createTheme, DEFAULT_THEME, type CSSVariablesResolver, type MantineColorsTuple } from '@mantine/core';

const cobalt: MantineColorsTuple = ['#eef3ff', '#dce6fd', '#b9ccf9', '#92b0f5', '#6f96f1', '#5580ee', '#3f6fe8', '#2f5ed0', '#2552b9', '#1a459f'];
const slate: MantineColorsTuple = ['#d8dde6', '#b9c1cf', '#97a2b5', '#66718a', '#313b4e', '#283144', '#192130', '#10161f', '#0b1018', '#070a10'];
const gray: MantineColorsTuple = ['#f7f8fa', '#f0f2f5', '#e6e9ee', '#d8dde5', '#c5ccd7', '#a3adbc', '#7b8798', '#566173', '#394252', '#1f2733'];

/** Of what lies over a page. */
const title = { fontWeight: 640, fontSize: 'var(--mantine-font-size-lg)' };

export const theme = createTheme({
  primaryColor: 'cobalt',
  primaryShade: { light: 7, dark: 6 },
  colors: { cobalt, dark: slate, gray },
  black: '#1b2230',
  fontFamily: "'Inter Variable', system-ui, -apple-system, 'Segoe UI', sans-serif",
  fontFamilyMonospace: "'JetBrains Mono Variable', ui-monospace, SFMono-Regular, Menlo, monospace",
  fontSizes: { xs: '0.75rem', sm: '0.8125rem', md: '0.875rem', lg: '1rem', xl: '1.125rem' },
  headings: {
    fontWeight: '640',
    sizes: {
      h1: { fontSize: '1.375rem', lineHeight: '1.3' },
      h2: { fontSize: '0.9375rem', lineHeight: '1.4' },
      h3: { fontSize: '0.875rem', lineHeight: '1.4' },
    },
  },
  defaultRadius: 'md',
  cursorType: 'pointer',
  autoContrast: true,
  focusRing: 'auto',
  components: {
    ActionIcon: { defaultProps: { variant: 'subtle', color: 'gray' } },
    Badge: { defaultProps: { variant: 'light', radius: 'sm' }, styles: { root: { textTransform: 'none', fontWeight: 550, minWidth: 'max-content' }, label: { overflow: 'visible' } } },
    Card: {
      defaultProps: { withBorder: true, padding: 'md', radius: 'lg' },
      styles: { root: { backgroundColor: 'var(--app-card)', borderColor: 'var(--app-line)' } },
    },
    Tooltip: { defaultProps: { openDelay: 250, withArrow: true } },
    Modal: { defaultProps: { centered: true, radius: 'lg', closeButtonProps: { 'aria-label': 'Close' } }, styles: { title } },
    Notification: { defaultProps: { closeButtonProps: { 'aria-label': 'Close' } } },
    Drawer: { defaultProps: { closeButtonProps: { 'aria-label': 'Close' } }, styles: { title } },
  },
});

const names = [...new Set([...Object.keys(DEFAULT_THEME.colors), 'cobalt'])].filter((name) => name !== 'dark');

/** What is tinted, such as badges, with texts that are dark, or light, enough to be read. */
const tints = (of: (name: string) => [text: string, plain: string, hover: string]) =>
  Object.fromEntries(
    names.flatMap((name) => {
      const [text, plain, hover] = of(`--mantine-color-${name}`);
      return [
        [`--mantine-color-${name}-light-color`, text],
        [`--mantine-color-${name}-light`, plain],
        [`--mantine-color-${name}-light-hover`, hover],
      ];
    }),
  );

const lightTints = tints((c) => [`color-mix(in srgb, var(${c}-9) 72%, #000)`, `color-mix(in srgb, var(${c}-6) 13%, #fff)`, `color-mix(in srgb, var(${c}-6) 20%, #fff)`]);
const darkTints = tints((c) => [`color-mix(in srgb, var(${c}-3) 92%, #fff)`, `color-mix(in srgb, var(${c}-6) 20%, transparent)`, `color-mix(in srgb, var(${c}-6) 28%, transparent)`]);

/** Colours with a meaning, for both schemes. All of them are readable as text on cards. */
export const resolver: CSSVariablesResolver = () => ({
  variables: { '--app-mono': "'JetBrains Mono Variable', ui-monospace, SFMono-Regular, Menlo, monospace" },
  light: {
    ...lightTints,
    '--mantine-color-body': '#ffffff',
    '--mantine-color-error': 'var(--app-bad)',
    '--mantine-color-dimmed': '#566173',
    '--mantine-color-placeholder': '#6b7687',
    '--mantine-color-default-border': '#d8dde5',
    '--app-page': '#f5f6f9',
    '--app-card': '#ffffff',
    '--app-sunken': '#f3f5f8',
    '--app-line': '#e3e7ed',
    '--app-good': '#0f7a4d',
    '--app-warn': '#a35200',
    '--app-bad': '#c22b2b',
    '--app-info': '#2552b9',
    '--app-entered': '#0f7a4d',
    '--app-exited': '#b04a08',
    '--app-chart-1': '#2f5ed0',
    '--app-chart-2': '#0c8a6f',
    '--app-chart-3': '#c2620c',
    '--app-chart-4': '#8a46c7',
    '--app-chart-5': '#b8336a',
    '--app-chart-6': '#5c6b80',
  },
  dark: {
    ...darkTints,
    '--mantine-color-body': '#151c28',
    '--mantine-color-text': '#d8dde6',
    '--mantine-color-error': 'var(--app-bad)',
    '--mantine-color-dimmed': '#97a2b5',
    '--mantine-color-placeholder': '#8490a5',
    '--mantine-color-default-border': '#313b4e',
    '--mantine-color-anchor': '#92b0f5',
    '--mantine-color-disabled': '#232d3e',
    '--mantine-color-disabled-color': '#7d8aa1',
    '--app-page': '#0c1119',
    '--app-card': '#151c28',
    '--app-sunken': '#0f151f',
    '--app-line': '#263044',
    '--app-good': '#45c98d',
    '--app-warn': '#f0a44b',
    '--app-bad': '#ff7b7b',
    '--app-info': '#92b0f5',
    '--app-entered': '#45c98d',
    '--app-exited': '#f2a35e',
    '--app-chart-1': '#6f96f1',
    '--app-chart-2': '#3cc4a2',
    '--app-chart-3': '#f2a35e',
    '--app-chart-4': '#b78bf0',
    '--app-chart-5': '#f07ba8',
    '--app-chart-6': '#97a2b5',
  },
});
