export * from './certificates.js';
export * from './signing.js';
