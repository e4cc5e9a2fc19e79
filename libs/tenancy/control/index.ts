export { CurrentStaff, type StaffCaller, StaffOnly, type StaffRole } from '#libs/identity/control';
export { Agencies, agencyChange, type AgencyChange } from './agencies/agencies.js';
export {
  agencyView,
  type AgencyView,
  email,
  governmentKind,
  nameText,
  plainText,
  stateCode,
} from './agencies/agency.js';
export { apiKeyRequest, type ApiKeyRequest, ApiKeys, apiKeyView, madeApiKey } from './access/api-keys.js';
export { AnyTenantCaller, CurrentCaller, RequireDeclare, RequireScope, type TenantCaller } from './access/caller.js';
export { Callers, type Identified } from './access/callers.js';
export { Contacts, type AgencyContacts } from './agencies/contacts.js';
export { type HandedOut, HandedOutByMembers } from './access/handed-out.js';
export { acceptRequest, type AcceptRequest, Invitations } from './members/invitations.js';
export { MemberSessions, type OpenedSession } from './members/member-sessions.js';
export { invitationRequest, type InvitationRequest, invitationView, Inviting } from './members/inviting.js';
export { memberChange, type MemberChange, Members, memberView } from './members/members.js';
export { type AgencyQuota, requirePlace } from './agencies/quotas.js';
export * from './access/scopes.js';
export { SignUps, signUpRequest, type SignUpRequest } from './agencies/sign-ups.js';
export { sweepExpiredJob } from './expiry.js';
export * from './tenancy.errors.js';
export * from './tenancy.module.js';
export type { TenancyOptions } from './tenancy.options.js';
