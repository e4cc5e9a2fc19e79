import type { Finding } from '#contracts/replication';

const of =
  (severity: Finding['severity']) =>
  (code: string, what: string, remedy: string): Finding => ({ code, severity, what, remedy });

/** Replication cannot be had, or would not keep its promise, until this is mended. */
export const blocker = of('blocker');
/** It works; something is worse than it could be, or will cost something. */
export const warning = of('warning');
/** Good to know; nothing to do. */
export const information = of('information');

/** The other way to protect a workload that cannot be replicated. */
export const ARCHIVE_INSTEAD = 'Protect it by the archive instead (a dump or a file backup): it needs no replication.';

/** `a, b and 3 more` */
export function listed(names: readonly string[], most = 5): string {
  if (names.length <= most) return names.join(', ');
  return `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
