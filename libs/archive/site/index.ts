export * from './vault/vault.module.js';
export * from './vault/vault-repositories.service.js';
export type { VaultServerOptions } from './vault/vault-server.js';
export { VAULT_ROLES, type VaultRole } from './vault/vault-rules.js';
