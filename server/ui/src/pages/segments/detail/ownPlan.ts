import { useIsMutating } from '@tanstack/react-query';
import { useExplain, type Segment, type Style } from '../../../api';

/** The plan of a segment; only one that runs has one, and while it is paused or resumed nobody knows. */
export const useOwnPlan = (segment: Segment, format: Style = 'json', enabled = true) => {
  const changing = useIsMutating() > 0;
  return useExplain(segment.name, format, enabled && segment.active && !changing);
};
