import { Module } from '@nestjs/common';
import { ProtectionModule } from '#libs/protection/control';
import { AssignedWorkloads } from './assigned-workloads.js';
import { DegradeGrants } from './degrade.service.js';
import { DuplicateAgentNotice } from './duplicate-agent.js';
import { ProtectionDuringFailover } from './failover-hooks.js';
import { HealthStore } from './health/health-store.js';
import { PreflightFailedHandler, PreflightHandler } from './preflight/preflight-results.js';
import { Preflights } from './preflight/preflight.service.js';
import { ProtectionCreation } from './protections/protection-creation.js';
import { ProtectionEvents } from './protections/protection-events.js';
import { ProtectionHealth } from './health/protection-health.js';
import { ProtectionOrders } from './protections/protection-orders.js';
import {
  ArmingChangedHandler,
  DivergenceHandler,
  OldPrimaryFencedHandler,
  ProtectFailedHandler,
  StandbyChangedHandler,
  UnprotectedHandler,
} from './protections/protection-results.js';
import { ProtectionStore } from './protections/protection-store.js';
import { Protections } from './protections/protection.service.js';
import { ProtectionsAtSite } from './protections/protections-at-site.js';

/** Needs SitesModule, OutboxModule and AuditModule, which are global. */
@Module({
  imports: [ProtectionModule],
  providers: [
    Preflights,
    ProtectionStore,
    ProtectionOrders,
    ProtectionCreation,
    Protections,
    ProtectionsAtSite,
    ProtectionHealth,
    ProtectionEvents,
    ProtectionDuringFailover,
    DegradeGrants,
    AssignedWorkloads,
    HealthStore,
    PreflightHandler,
    PreflightFailedHandler,
    StandbyChangedHandler,
    ArmingChangedHandler,
    DivergenceHandler,
    OldPrimaryFencedHandler,
    UnprotectedHandler,
    ProtectFailedHandler,
    DuplicateAgentNotice,
  ],
  exports: [
    ProtectionModule,
    Preflights,
    ProtectionCreation,
    Protections,
    ProtectionsAtSite,
    ProtectionHealth,
    ProtectionDuringFailover,
    DegradeGrants,
    AssignedWorkloads,
  ],
})
export class ReplicationModule {}
