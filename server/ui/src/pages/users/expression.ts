// How a derived segment combines others, as one would write it.
import type { Segment } from '../../api';
import { plain } from './conditions';

/** The expression that was given, or that the dependencies fold to, else that of the engine. */
export function expressionOf(segment: Pick<Segment, 'logicalExpression' | 'dependencies'>, condition: string): string {
  if (segment.logicalExpression) return segment.logicalExpression;
  const dependencies = segment.dependencies ?? [];
  if (dependencies.length === 0) return plain(condition);
  return dependencies
    .map(({ independentSegmentId, logicalOperator }, i) => {
      const operator = logicalOperator.toUpperCase();
      if (i === 0) return independentSegmentId;
      return `${operator === 'NOT' ? 'AND NOT' : operator} ${independentSegmentId}`;
    })
    .join(' ');
}
