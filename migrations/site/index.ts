import type { MigrationClass } from '#libs/platform/database';
import { Site1790000000001 } from './0001-site.js';
import { SitePlumbing1790000000002 } from './0002-site-plumbing.js';
import { Failover1790000000003 } from './0003-failover.js';
import { Evidence1790000000004 } from './0004-evidence.js';
import { StandAside1790000000005 } from './0005-stand-aside.js';
import { TraceContext1790000000006 } from './0006-trace-context.js';
import { ClientNetworks1790000000007 } from './0007-client-networks.js';
import { SynchronousSite1790000000010 } from './0010-synchronous-site.js';
import { Vault1790000000020 } from './0020-vault.js';
import { Archives1790000000021 } from './0021-archives.js';
import { WhatRestoresSaw1790000000022 } from './0022-what-restores-saw.js';
import { WhatArchivesTell1790000000023 } from './0023-what-archives-tell.js';
import { JunkObjects1790000000024 } from './0024-junk-objects.js';
import { FormerRetention1790000000025 } from './0025-former-retention.js';
import { VaultLimits1790000000026 } from './0026-vault-limits.js';

/** A site's schema, oldest first. */
export const SITE_MIGRATIONS: readonly MigrationClass[] = [
  Site1790000000001,
  SitePlumbing1790000000002,
  Failover1790000000003,
  Evidence1790000000004,
  StandAside1790000000005,
  TraceContext1790000000006,
  ClientNetworks1790000000007,
  SynchronousSite1790000000010,
  Vault1790000000020,
  Archives1790000000021,
  WhatRestoresSaw1790000000022,
  WhatArchivesTell1790000000023,
  JunkObjects1790000000024,
  FormerRetention1790000000025,
  VaultLimits1790000000026,
];
