import { Module } from '@nestjs/common';
import { ProtectionModule } from '#libs/protection/control';
import { AssignedWorkloads } from './assigned-workloads.js';
import { DegradeGrants } from './degrade.service.js';
import { DuplicateAgentNotice } from './duplicate-agent.js';
import { ProtectionDuringFailover } from './failover-hooks.js';
import { HealthStore } from './health-store.js';
import { PreflightFailedHandler, PreflightHandler } from './preflight-results.js';
import { Preflights } from './preflight.service.js';
import { ProtectionCreation } from './protection-creation.js';
import { ProtectionEvents } from './protection-events.js';
import { ProtectionHealth } from './protection-health.js';
import { ProtectionOrders } from './protection-orders.js';
import {
  ArmingChangedHandler,
  DivergenceHandler,
  OldPrimaryFencedHandler,
  ProtectFailedHandler,
  StandbyChangedHandler,
  UnprotectedHandler,
} from './protection-results.js';
import { ProtectionStore } from './protection-store.js';
import { Protections } from './protection.service.js';
import { ProtectionsAtSite } from './protections-at-site.js';

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
