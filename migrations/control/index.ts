import type { MigrationClass } from '#libs/platform/database';
import { Platform1790000000001 } from './0001-platform.js';
import { Audit1790000000002 } from './0002-audit.js';
import { Idempotency1790000000003 } from './0003-idempotency.js';
import { Identity1790000000004 } from './0004-identity.js';
import { Tenancy1790000000005 } from './0005-tenancy.js';
import { Notifications1790000000006 } from './0006-notifications.js';
import { PasswordResets1790000000007 } from './0007-password-resets.js';
import { Sites1790000000010 } from './0010-sites.js';
import { Protection1790000000011 } from './0011-protection.js';
import { Replication1790000000012 } from './0012-replication.js';
import { Failover1790000000013 } from './0013-failover.js';
import { TraceContext1790000000014 } from './0014-trace-context.js';
import { ClientNetworks1790000000015 } from './0015-client-networks.js';
import { SignUpConfirmation1790000000020 } from './0020-sign-up-confirmation.js';
import { Makers1790000000021 } from './0021-makers.js';
import { SignIn1790000000022 } from './0022-sign-in.js';
import { MailDelivery1790000000023 } from './0023-mail-delivery.js';
import { NarrowRights1790000000024 } from './0024-narrow-rights.js';
import { SynchronousSite1790000000030 } from './0030-synchronous-site.js';
import { OpenDoors1790000000031 } from './0031-open-doors.js';
import { OpenPasswordResets1790000000032 } from './0032-open-password-resets.js';
import { Archive1790000000040 } from './0040-archive.js';
import { FormerRetention1790000000043 } from './0043-former-retention.js';

/** The control plane's schema, oldest first. */
export const CONTROL_MIGRATIONS: readonly MigrationClass[] = [
  Platform1790000000001,
  Audit1790000000002,
  Idempotency1790000000003,
  Identity1790000000004,
  Tenancy1790000000005,
  Notifications1790000000006,
  PasswordResets1790000000007,
  Sites1790000000010,
  Protection1790000000011,
  Replication1790000000012,
  Failover1790000000013,
  TraceContext1790000000014,
  ClientNetworks1790000000015,
  SignUpConfirmation1790000000020,
  Makers1790000000021,
  SignIn1790000000022,
  MailDelivery1790000000023,
  NarrowRights1790000000024,
  SynchronousSite1790000000030,
  OpenDoors1790000000031,
  OpenPasswordResets1790000000032,
  Archive1790000000040,
  FormerRetention1790000000043,
];
