export * from './declaration.service.js';
export * from './failover.errors.js';
export * from './failover.module.js';
export { type Preview, type SiteOutlook, Outlooks } from './outlook.service.js';
export { type FeedItem, RunFeed } from './runs/run-feed.js';
export { type RunCursor, Runs, type RunView, type StepView } from './runs/run.service.js';
