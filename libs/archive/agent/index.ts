export * from './archive-commands.js';
export * from './archive-check.js';
export * from './customer-key.js';
export * from './errors.js';
export * from './exit.js';
export { archiveStatus, type ArchiveStatus } from './work/archive-status.js';
export { findRestic, INSTALL_RESTIC, type ResticProgram } from './restic/program.js';
