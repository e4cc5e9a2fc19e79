import type { Finding } from '#contracts/replication';

const of =
  (severity: Finding['severity']) =>
  (code: string, what: string, remedy: string): Finding => ({ code, severity, what, remedy });

/** The site cannot run the workload, or would run it wrongly, until this is mended. */
export const blocker = of('blocker');
/** It runs; something will be worse than it could be. */
export const warning = of('warning');

/** `a, b and 3 more` */
export function listed(names: readonly string[], most = 5): string {
  if (names.length <= most) return names.join(', ');
  return `${names.slice(0, most).join(', ')} and ${names.length - most} more`;
}
