import { Module } from '@nestjs/common';
import {
  clientNetworksOrder,
  degradeOrder,
  preflightOrder,
  protectOrder,
  rearmOrder,
  unprotectOrder,
} from '#contracts/replication';
import { Claims } from './claims.js';
import { Credentials } from './credentials.js';
import { HealthSources, StandbyHealths } from './health/health.service.js';
import { standbyCollector } from './health/standby.metrics.js';
import { ClientNetworksOrderHandler } from './orders/client-networks.order.js';
import { DegradeOrderHandler, RearmOrderHandler } from './orders/arming.order.js';
import { PreflightOrderHandler } from './orders/preflight.order.js';
import { ProtectOrderHandler, UnprotectOrderHandler } from './orders/protect.order.js';
import {
  BeginPeerBackup,
  EndPeerBackup,
  FinishPeerBackup,
  HashPeerBackup,
  ListPeerBackup,
  ReadPeerBackup,
} from './peers/backup.handlers.js';
import { PeerBackups } from './peers/peer-backups.js';
import { RECONCILER_PROVIDERS } from './reconciler/providers.js';
import { SourceReports } from './source-reports.js';
import { Standbys } from './standbys.service.js';

/** The orders that this library carries out. */
export const STANDBYS_ORDERS = [
  protectOrder,
  unprotectOrder,
  degradeOrder,
  rearmOrder,
  preflightOrder,
  clientNetworksOrder,
] as const;

/** The life of standbys, in the site process. Needs the modules of sites (orders, outbox, agents, driver) and of the link's rows. */
@Module({
  providers: [
    Standbys,
    Credentials,
    SourceReports,
    Claims,
    ...RECONCILER_PROVIDERS,
    ProtectOrderHandler,
    UnprotectOrderHandler,
    DegradeOrderHandler,
    RearmOrderHandler,
    PreflightOrderHandler,
    ClientNetworksOrderHandler,
    PeerBackups,
    BeginPeerBackup,
    ListPeerBackup,
    HashPeerBackup,
    ReadPeerBackup,
    FinishPeerBackup,
    EndPeerBackup,
    HealthSources,
    StandbyHealths,
    standbyCollector,
  ],
  exports: [Standbys, Credentials, SourceReports, Claims, PeerBackups, StandbyHealths],
})
export class StandbysModule {}
