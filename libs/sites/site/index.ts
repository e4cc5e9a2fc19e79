export * from './agent-commands.js';
export * from './carries-out.js';
export * from './peer-sites.js';
export * from './site-outbox.js';
export * from './site-settings.js';
export * from './sites.errors.js';
export * from './snapshots.js';
