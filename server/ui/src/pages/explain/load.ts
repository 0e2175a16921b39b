// Times of operators, which are small.
import { formatDuration } from '../../lib/format';

export const formatLoad = {
  /** `850 ns`, `1.2 µs`, `3.4 ms` */
  perRow: (nanos: number): string => (nanos < 1_000 ? `${Math.round(nanos)} ns` : nanos < 1_000_000 ? `${(nanos / 1_000).toFixed(1)} µs` : formatDuration(nanos / 1e6)),
  /** `0.12 %`, `3.4 %` */
  share: (share: number): string => {
    const percent = share * 100;
    return `${percent === 0 ? '0' : percent < 0.01 ? '< 0.01' : percent < 1 ? percent.toFixed(2) : percent.toFixed(1)} %`;
  },
};
