export * from './event-contract.js';
export * from './outbox.js';
export * from './outbox.module.js';
