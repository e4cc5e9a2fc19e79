export * from './clock.module.js';
export { provideCollector } from './collector.js';
export * from './telemetry.module.js';
