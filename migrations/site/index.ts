import type { MigrationClass } from '#libs/platform/database';
import { Site1790000000001 } from './0001-site.js';

/** A site's schema, oldest first. */
export const SITE_MIGRATIONS: readonly MigrationClass[] = [Site1790000000001];
