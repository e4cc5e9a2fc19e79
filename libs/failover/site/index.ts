export { StepBoundaries } from './boundaries.js';
export * from './failover.errors.js';
export * from './failover.jobs.js';
export * from './failover.module.js';
export { PromotionOutlooks } from './outlook.service.js';
export { RunEngine } from './runs/run-engine.js';
export { PeerPatience } from './steps/stop-receivers.step.js';
