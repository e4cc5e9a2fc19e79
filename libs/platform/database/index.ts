export * from './commit-hook.js';
export * from './database.module.js';
export * from './listen.js';
export { COUNTED_AT_MOST } from './measuring.js';
export * from './migrate.js';
export * from './provision.js';
export * from './transaction.js';
export * from './unit-of-work.js';
export * from './watch.js';
