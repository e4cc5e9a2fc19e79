export { CurrentStaff, type StaffCaller, StaffOnly, type StaffRole } from '#libs/identity/control';
export { AnyTenantCaller, CurrentCaller, RequireDeclare, RequireScope, type TenantCaller } from './caller.js';
export * from './scopes.js';
