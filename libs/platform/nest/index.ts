export * from './clock.module.js';
export * from './telemetry.module.js';
