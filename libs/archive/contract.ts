export * from './contract/terms.js';
export * from './contract/policy.js';
export * from './contract/orders.js';
export * from './contract/proof.js';
export * from './contract/results.js';
export * from './contract/questions.js';
export * from './contract/agent-work.js';
export * from './contract/copies.js';
