import { describe, expect, it } from 'vitest';
import { expressionOf, namesOf } from './expression';

const ID = '01a2132a-5805-77a3-aaba-888489942ed4';
const names = namesOf([{ id: ID, name: 'High Spenders' }]);
const dependency = (independentSegmentId: string, logicalOperator: string) => ({ independentSegmentId, logicalOperator }) as never;

describe('expressionOf', () => {
  it('is what was written, with names', () => {
    expect(expressionOf({ logicalExpression: 'a AND (b OR c)', dependencies: [] }, 'x', names)).toBe('a AND (b OR c)');
    expect(expressionOf({ logicalExpression: `a AND NOT ${ID}` }, 'x', names)).toBe('a AND NOT "High Spenders"');
  });
  it('folds dependencies, whose first operator says nothing', () => {
    expect(expressionOf({ dependencies: [dependency('a', 'NOT'), dependency(ID, 'AND'), dependency('c', 'NOT')] }, 'x', names)).toBe('(a AND "High Spenders") AND NOT c');
  });
  it('is that of the engine for SQL', () => {
    expect(expressionOf({}, 'a AND b IS NOT TRUE', names)).toBe('a AND NOT b');
  });
});
