export * from './commit-hook.js';
export * from './database.module.js';
export * from './listen.js';
export * from './measuring.js';
export * from './migrate.js';
export * from './provision.js';
export * from './transaction.js';
export * from './unit-of-work.js';
