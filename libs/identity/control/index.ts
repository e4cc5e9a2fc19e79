export { credentialOf } from './bearer.js';
export * from './identity.errors.js';
export * from './identity.module.js';
export { checkPassword, Identity, refusalOf, type SessionPurpose, type SignInOutcome } from './identity.service.js';
export { hashToken, makeToken, type OneTimeToken } from './one-time-token.js';
export { PasswordResets } from './password-resets.js';
export { SessionTokens } from './session-token.js';
export * from './staff-caller.js';
export { LastAdministratorError, type NewStaff, Staff, StaffExistsError, type StaffView } from './staff.service.js';
