export { AssignedWorkloads } from './assigned-workloads.js';
export { CLOSED_DOORS } from './closed-doors.js';
export { type Connection, connectionOf } from './connection-strings.js';
export * from './degrade.service.js';
export { ProtectionDuringFailover } from './failover-hooks.js';
export {
  CONDITIONS,
  type Condition,
  type KeptHealth,
  type LegView,
  SILENT_SECONDS,
  synchronousSiteOf,
} from './health/health.js';
export {
  PREFLIGHT_STATES,
  Preflights,
  type PreflightState,
  type PreflightView,
} from './preflight/preflight.service.js';
export { type ProtectionEvent, ProtectionHealth, type ProtectionView } from './health/protection-health.js';
export type { ProtectionRow } from './protections/protection-store.js';
export { ProtectionCreation, type ProtectionInput } from './protections/protection-creation.js';
export { type ProtectionChange, Protections } from './protections/protection.service.js';
export { ProtectionsAtSite } from './protections/protections-at-site.js';
export { PROTECTION_STATES, type ProtectionState } from './protection.states.js';
export * from './replication.errors.js';
export { chooseSites, type SitePair, suggestedPair } from './site-choice.js';
export * from './replication.module.js';
