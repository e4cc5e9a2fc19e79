export * from './config.js';
export * from './large-buffers.js';
export * from './observability.js';
