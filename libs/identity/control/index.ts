export { credentialOf } from './bearer.js';
export * from './identity.errors.js';
export * from './identity.module.js';
export { checkPassword, type ClientSession, Identity, type SessionPurpose } from './identity.service.js';
export { hashToken, makeToken, type OneTimeToken } from './sessions/one-time-token.js';
export { PasswordResets, type ResetPerson } from './passwords/password-resets.js';
export { PasswordsBusyError } from './passwords/password-work.js';
export { SessionTokens } from './sessions/session-token.js';
export { type Credentials, refusalOf, SignIn, type SignedIn, type SignInOutcome } from './sessions/sign-in.js';
export * from './staff/staff-caller.js';
export {
  LastAdministratorError,
  type NewStaff,
  Staff,
  StaffExistsError,
  type StaffView,
} from './staff/staff.service.js';
export { TwoFactor } from './sessions/two-factor.js';
