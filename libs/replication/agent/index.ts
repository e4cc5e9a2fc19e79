export * from './connection.js';
export * from './degrade-receiver.js';
export * from './errors.js';
export * from './protected-workload.js';
export * from './replication-commands.js';
export * from './server.js';
export * from './server-settings.js';
export { runPreflight, surveil, type Baseline, type PreflightQuestion } from './preflight/index.js';
