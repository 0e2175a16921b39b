import { describe, expect, it } from 'vitest';
import { expressionOf } from './expression';

const dependency = (independentSegmentId: string, logicalOperator: string) => ({ independentSegmentId, logicalOperator });

describe('expressionOf', () => {
  it('is what was written', () => {
    expect(expressionOf({ logicalExpression: 'a AND (b OR c)', dependencies: [] }, 'x')).toBe('a AND (b OR c)');
  });
  it('folds dependencies, whose first operator says nothing', () => {
    expect(expressionOf({ dependencies: [dependency('a', 'NOT'), dependency('b', 'AND'), dependency('c', 'NOT')] }, 'x')).toBe('a AND b AND NOT c');
  });
  it('is that of the engine for SQL', () => {
    expect(expressionOf({}, 'a AND b IS NOT TRUE')).toBe('a AND NOT b');
  });
});
