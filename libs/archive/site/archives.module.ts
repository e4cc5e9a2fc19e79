import path from 'node:path';
import { type DynamicModule, Module } from '@nestjs/common';
import {
  allowExitOrder,
  askFile,
  askTree,
  cancelArchiveWorkOrder,
  endArchiveOrder,
  ensureArchiveOrder,
  keepCopyOrder,
  restoreOrder,
  rotateKeysOrder,
  runArchiveOrder,
} from '#contracts/archive';
import type { OrderContract, QuestionContract } from '#contracts/sites';
import type { JobContract } from '#libs/platform/queue';
import { ArchiveReports } from './archive-report.js';
import { ARCHIVE_SETTINGS, type ArchiveSettings, VAULT_AUTHORITY } from './archive-settings.js';
import {
  AdvanceRestoreHandler,
  AdvanceRunHandler,
  HandExitHandler,
  ReconcileArchiveHandler,
  StandingCopyHandler,
  SweepArchivesHandler,
  SweepFactsHandler,
  SweepWorkHandler,
} from './archive.handlers.js';
import { OWN_JOBS } from './archives.jobs.js';
import { Archives } from './archives.service.js';
import { CARE_JOBS, CARE_ORDERS, CARE_PROVIDERS } from './care.js';
import { Ending, EndingParts } from './ending.js';
import { Exits } from './exit/exits.service.js';
import { ArchiveFacts } from './facts/archive-facts.js';
import { archiveCollector } from './facts/archive.metrics.js';
import { Tellings } from './facts/tellings.js';
import { UsageFacts } from './facts/usage-facts.js';
import { ArchiveKeys } from './keys/archive-keys.js';
import { KEY_ENCRYPTION } from './keys/key-encryption.js';
import { keyEncryptionOf } from './keys/key-ring.js';
import { RepositoryKeys } from './keys/repository-keys.js';
import { Rotations } from './keys/rotations.js';
import { EndArchiveHandler, EnsureArchiveHandler, KeepCopyHandler } from './orders/archive.orders.js';
import {
  AllowExitHandler,
  CancelArchiveWorkHandler,
  RestoreHandler,
  RotateKeysHandler,
  RunArchiveHandler,
} from './orders/work.orders.js';
import { Adoption } from './points/adoption.js';
import { Points } from './points/points.service.js';
import { FileAnswerer, TreeAnswerer } from './questions/archive.questions.js';
import { Trees } from './questions/trees.js';
import { ArchiveReconciler } from './reconciler.js';
import { SiteRestic } from './restic/site-restic.js';
import { Restores } from './restores/restores.service.js';
import { AgentWorks } from './runs/agent-works.js';
import { DueRuns } from './runs/due-runs.js';
import { Runs } from './runs/runs.service.js';
import { WorkEngine } from './runs/work-engine.js';
import { StandingCopies } from './standing/standing-copies.js';
import { VaultAddress } from './vault-address.js';
import { type VaultCertificates, vaultCertificates } from './vault/vault-authority.js';
import { vaultDiskCollector } from './vault/vault-disk.metrics.js';
import { VaultModule } from './vault/vault.module.js';

/** The orders that this library carries out. */
export const ARCHIVE_ORDERS: readonly OrderContract<never>[] = [
  ...([
    ensureArchiveOrder,
    endArchiveOrder,
    keepCopyOrder,
    runArchiveOrder,
    cancelArchiveWorkOrder,
    restoreOrder,
    rotateKeysOrder,
    allowExitOrder,
  ] as unknown as readonly OrderContract<never>[]),
  ...CARE_ORDERS,
];
/** The questions that it answers. */
export const ARCHIVE_QUESTIONS = [askTree, askFile] as unknown as readonly QuestionContract<never, never>[];
/** The jobs that a site process runs for it. */
export const ARCHIVE_JOBS: readonly JobContract<never>[] = [
  ...(OWN_JOBS as unknown as readonly JobContract<never>[]),
  ...CARE_JOBS,
];

const HANDLERS = [
  EnsureArchiveHandler,
  EndArchiveHandler,
  KeepCopyHandler,
  RunArchiveHandler,
  CancelArchiveWorkHandler,
  RestoreHandler,
  RotateKeysHandler,
  AllowExitHandler,
  TreeAnswerer,
  FileAnswerer,
  ReconcileArchiveHandler,
  AdvanceRunHandler,
  AdvanceRestoreHandler,
  HandExitHandler,
  StandingCopyHandler,
  SweepWorkHandler,
  SweepArchivesHandler,
  SweepFactsHandler,
];

/** The archive of a warm site: the vault, runs, restores, keys and what looks after the recovery points. */
@Module({})
export class ArchivesModule {
  static forProcess(settings: ArchiveSettings): DynamicModule {
    const { vault, directory, databaseUrl } = settings;
    let made: Promise<VaultCertificates> | undefined;
    const hosts = [vault.host, ...(vault.url ? [new URL(vault.url).hostname] : [])];
    const certificates = () => (made ??= vaultCertificates(directory, hosts));
    return {
      module: ArchivesModule,
      imports: [
        VaultModule.forProcess(async () => {
          const own = await certificates();
          const loopback = { certificate: own.certificate, key: own.key };
          return {
            host: vault.host,
            port: vault.port,
            tls: vault.tls ?? loopback,
            loopback,
            directory: path.join(directory, 'vault'),
            databaseUrl,
            ...(vault.storage ? { storage: vault.storage } : {}),
          };
        }),
      ],
      providers: [
        { provide: ARCHIVE_SETTINGS, useValue: settings },
        { provide: VAULT_AUTHORITY, useFactory: async () => (await certificates()).authority },
        { provide: KEY_ENCRYPTION, useFactory: () => keyEncryptionOf(settings, settings.serviceKey ?? null) },
        ArchiveReports,
        Archives,
        Points,
        ArchiveKeys,
        SiteRestic,
        RepositoryKeys,
        Rotations,
        ArchiveReconciler,
        Ending,
        EndingParts,
        VaultAddress,
        AgentWorks,
        WorkEngine,
        Runs,
        DueRuns,
        Restores,
        Exits,
        StandingCopies,
        Trees,
        UsageFacts,
        Tellings,
        Adoption,
        ArchiveFacts,
        archiveCollector,
        vaultDiskCollector,
        ...HANDLERS,
        ...CARE_PROVIDERS,
      ],
      exports: [Archives, Points, SiteRestic],
    };
  }
}
