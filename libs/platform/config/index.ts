export * from './config.js';
export * from './observability.js';
