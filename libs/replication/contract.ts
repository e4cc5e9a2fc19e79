export * from './contract/terms.js';
export * from './contract/hba-at-site.js';
export * from './contract/networks.js';
export * from './contract/orders.js';
export * from './contract/health.js';
export * from './contract/pulse.js';
export * from './contract/agent-commands.js';
