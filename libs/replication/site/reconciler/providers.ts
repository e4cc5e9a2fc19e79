import type { Provider } from '@nestjs/common';
import { DoorAuthorities } from '../certificates/door-authorities.js';
import { DoorCertificates } from '../certificates/door-certificates.js';
import { Arming } from './arming.js';
import { BackupTransports } from './backup-transports.js';
import { CatchUpStage } from './catch-up.stage.js';
import { Faults } from './faults.js';
import { Following } from './following.js';
import { PauseStage } from './pause.stage.js';
import { LinkSide, PrepareStage } from './prepare.stage.js';
import { PrimaryStage } from './primary.stage.js';
import { ReconcileStandbyHandler, SweepStandbysHandler } from './reconcile.jobs.js';
import { Reconciler, ReconcilerSurroundings } from './reconciler.js';
import { RemoveStage, SiteSide } from './remove.stage.js';
import { RepairStage } from './repair.stage.js';
import { SeedPatience, SeedSources } from './seed-sources.js';
import { SeedStage } from './seed.stage.js';
import { SeedingOutside, Seedings } from './seedings.js';
import { ServerCare } from './server-care.js';
import { SlotForOther } from './slot-for-other.js';
import { SourceServer } from './source-server.js';
import { MendingStages, Stages } from './stages.js';
import { StreamCare } from './stream-care.js';
import { StreamStage, StreamSurroundings } from './stream.stage.js';

export const RECONCILER_PROVIDERS: Provider[] = [
  Arming,
  BackupTransports,
  CatchUpStage,
  DoorAuthorities,
  DoorCertificates,
  Faults,
  Following,
  LinkSide,
  MendingStages,
  PauseStage,
  PrepareStage,
  PrimaryStage,
  ReconcileStandbyHandler,
  Reconciler,
  ReconcilerSurroundings,
  RemoveStage,
  RepairStage,
  SeedPatience,
  SeedSources,
  SeedStage,
  SeedingOutside,
  Seedings,
  ServerCare,
  SiteSide,
  SlotForOther,
  SourceServer,
  Stages,
  StreamCare,
  StreamStage,
  StreamSurroundings,
  SweepStandbysHandler,
];
