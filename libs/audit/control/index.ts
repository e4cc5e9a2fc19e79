export * from './audit-entry.js';
export * from './audit.js';
export * from './audit.module.js';
