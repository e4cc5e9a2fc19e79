import type { MigrationClass } from '#libs/platform/database';
import { Platform1790000000001 } from './0001-platform.js';

/** The control plane's schema, oldest first. */
export const CONTROL_MIGRATIONS: readonly MigrationClass[] = [Platform1790000000001];
