export { AgentChallenges } from './agents/agent-challenge.js';
export { AgentSigned } from './agents/agent-signed.guard.js';
export * from './agents/agent.service.js';
export {
  type AppliedResult,
  AppliesResult,
  type ResultHandler,
  type SnapshotStore,
  SnapshotStores,
} from './results/applies-result.js';
export * from './agents/enrolment.service.js';
export * from './geography.js';
export { siteAddress } from './orders/order-delivery.js';
export { Orders, type OrderRequest } from './orders/orders.js';
export * from './connections/site-endpoint.js';
export { type Bytes, SiteQuestions } from './connections/site-questions.js';
export * from './site.service.js';
export * from './sites.errors.js';
export * from './sites.jobs.js';
export * from './sites.module.js';
