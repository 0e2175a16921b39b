import { expect, it } from 'vitest';
import { flatten } from './flatten';

it('names keys as --set does', () => {
  expect(flatten({ data: './d', source: { topics: ['a', 'b'], kafka: { brokers: '' } }, keep: 3, none: null })).toEqual([
    ['data', './d'],
    ['source.topics', 'a, b'],
    ['source.kafka.brokers', ''],
    ['keep', '3'],
    ['none', ''],
  ]);
});
