export * from './metering.errors.js';
export * from './metering.module.js';
export * from './usage.service.js';
