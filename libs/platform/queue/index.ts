export { createQueueBackend, migrateQueue, type QueueBackend } from './backend.js';
export * from './handles.js';
export * from './job-contract.js';
export * from './job-queue.js';
export * from './job-runner.js';
export * from './queue.module.js';
