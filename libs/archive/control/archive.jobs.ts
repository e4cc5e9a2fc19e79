import { defineSweep } from '#libs/platform/queue';

/** Looks which archives are late, silent, or behind with their second copy. */
export const watchArchivesJob = defineSweep('archives.watch', 30_000);

/** The jobs of the process that applies what sites tell. */
export const ARCHIVE_JOBS = [watchArchivesJob] as const;
