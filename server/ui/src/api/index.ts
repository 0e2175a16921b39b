export * from './explore';
export * from './history';
export * from './problem';
export * from './queries';
export * from './stream';
export * from './token';
export * from './types';
