import type { Actor, AuditRecord } from '#libs/audit/control';
import type { TenantTransaction } from '#libs/platform/database';

/** What the agency's log says of a change to the protection of a workload. */
export const protectionRecord = (
  { tenantId }: TenantTransaction,
  actor: Actor,
  action: `protection.${string}`,
  workloadId: string,
  detail: Record<string, unknown>,
): AuditRecord => ({ tenantId, actor, action, subjectKind: 'workload', subjectId: workloadId, detail });
