import { z } from 'zod';

/** What a caller may do. An API key holds some of these; a member holds those of the role. */
export const SCOPES = [
  'agency:read',
  'agency:write',
  'members:read',
  'members:write',
  'api-keys:read',
  'api-keys:write',
  'audit:read',
  'sites:read',
  'agents:read',
  'agents:write',
  'functions:read',
  'functions:write',
  'workloads:read',
  'workloads:write',
  'protections:read',
  'protections:write',
  'archives:read',
  'archives:write',
  'archives:restore',
  'failovers:read',
  'failovers:preview',
  'failovers:declare',
] as const;
export const scope = z.enum(SCOPES).meta({ id: 'Scope' });
export type Scope = z.infer<typeof scope>;

/** People and keys are managed by people: a key must not be able to make another, or let somebody in. */
export const PERSONS_ONLY: readonly Scope[] = ['members:write', 'api-keys:write', 'agency:write'];

export const ROLES = ['owner', 'operator', 'auditor'] as const;
export const role = z.enum(ROLES).meta({ id: 'Role' });
export type Role = z.infer<typeof role>;

const READING = SCOPES.filter((name) => name.endsWith(':read'));

/** What each role may do. To declare a failover is no role's: it is an authority of its own (`mayDeclare`). */
export const SCOPES_OF_ROLE: Readonly<Record<Role, readonly Scope[]>> = {
  owner: SCOPES.filter((name) => name !== 'failovers:declare'),
  operator: [
    ...READING,
    'agents:write',
    'functions:write',
    'workloads:write',
    'protections:write',
    'archives:write',
    'archives:restore',
    'failovers:preview',
  ],
  auditor: READING,
};

/** All that a member may do. */
export const scopesOfMember = (memberRole: Role, mayDeclare: boolean): readonly Scope[] =>
  mayDeclare ? [...SCOPES_OF_ROLE[memberRole], 'failovers:preview', 'failovers:declare'] : SCOPES_OF_ROLE[memberRole];
