import type { AgencyQuota } from '#libs/tenancy/control';

/** Agents that are not revoked: each may hold two sessions of a gateway's memory at each of its sites. */
export const AGENTS: AgencyQuota = {
  what: 'agents',
  most: 100,
  count: `SELECT count(*)::int AS n FROM agent WHERE tenant_id = $1 AND revoked_at IS NULL`,
};

export const ENROLMENT_TOKENS: AgencyQuota = {
  what: 'open enrolment tokens',
  most: 100,
  count: `SELECT count(*)::int AS n FROM enrolment_token
           WHERE tenant_id = $1 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > now()`,
};
