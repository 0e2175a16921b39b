// How a derived segment combines others, as one would write it.
import type { Segment } from '../../api';
import { plain } from '../../lib/expression';
import { expressionOf as fold, quoted } from '../segments/words';

const ID = /\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/gi;

/** Names of segments by id; other texts are names already. */
export const namesOf = (segments: readonly Pick<Segment, 'id' | 'name'>[] | undefined) => {
  const names = new Map(segments?.map((s) => [s.id, s.name]));
  return (idOrName: string) => names.get(idOrName) ?? idOrName;
};

/** The expression that was given, or that the dependencies fold to, else that of the engine. */
export function expressionOf(segment: Pick<Segment, 'logicalExpression' | 'dependencies'>, condition: string, nameOf: (idOrName: string) => string): string {
  if (segment.logicalExpression) return segment.logicalExpression.replace(ID, (id) => quoted(nameOf(id)));
  const dependencies = segment.dependencies ?? [];
  if (dependencies.length === 0) return plain(condition);
  return fold(dependencies.map((d) => ({ segment: nameOf(d.independentSegmentId), operator: d.logicalOperator.toUpperCase() })));
}
