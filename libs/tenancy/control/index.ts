export { CurrentStaff, type StaffCaller, StaffOnly, type StaffRole } from '#libs/identity/control';
export { Agencies, agencyChange, type AgencyChange } from './agencies.js';
export { agencyView, type AgencyView, email, governmentKind, plainText, stateCode } from './agency.js';
export { apiKeyRequest, type ApiKeyRequest, ApiKeys, apiKeyView, madeApiKey } from './api-keys.js';
export { AnyTenantCaller, CurrentCaller, RequireDeclare, RequireScope, type TenantCaller } from './caller.js';
export { Contacts, type AgencyContacts } from './contacts.js';
export { acceptRequest, type AcceptRequest, Invitations } from './invitations.js';
export { MemberSessions, type OpenedSession } from './member-sessions.js';
export {
  invitationRequest,
  type InvitationRequest,
  invitationView,
  memberChange,
  type MemberChange,
  Members,
  memberView,
} from './members.js';
export * from './scopes.js';
export { SignUps, signUpRequest, type SignUpRequest } from './sign-ups.js';
export { sweepExpiredJob } from './expiry.js';
export * from './tenancy.errors.js';
export * from './tenancy.module.js';
export type { TenancyOptions } from './tenancy.options.js';
