export { AgentChallenges } from './agent-challenge.js';
export { AgentSigned } from './agent-signed.guard.js';
export * from './agent.service.js';
export {
  type AppliedResult,
  AppliesResult,
  type ResultHandler,
  type SnapshotStore,
  SnapshotStores,
} from './applies-result.js';
export * from './enrolment.service.js';
export * from './geography.js';
export { siteAddress } from './order-delivery.js';
export { Orders, type OrderRequest } from './orders.js';
export * from './site-endpoint.js';
export { type Bytes, SiteQuestions } from './site-questions.js';
export * from './site.service.js';
export * from './sites.errors.js';
export * from './sites.jobs.js';
export * from './sites.module.js';
