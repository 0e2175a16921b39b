/** Two sets that overlap. */
export function Logo({ size = 26 }: { size?: number }) {
  return (
    <svg viewBox="0 0 32 32" width={size} height={size} aria-hidden>
      <rect width="32" height="32" rx="8" fill="var(--mantine-color-cobalt-7)" />
      <g fill="none" stroke="#fff" strokeWidth="2.4">
        <circle cx="12.6" cy="16" r="6.4" />
        <circle cx="19.4" cy="16" r="6.4" strokeOpacity=".72" />
      </g>
      <circle cx="16" cy="16" r="2" fill="#fff" />
    </svg>
  );
}
