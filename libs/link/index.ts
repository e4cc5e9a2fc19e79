export * from './canonical-json.js';
export { certificateFingerprint, createAuthority, issueCertificate } from './certificates.js';
export type { CertificateRequest, CertificateText } from './certificates.js';
export * from './contract.js';
export * from './errors.js';
export * from './keys.js';
