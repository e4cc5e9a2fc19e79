export { BackupRefusedError, BackupSessionLostError, isSessionLost } from './errors.js';
export type { BackupProgress } from './progress.js';
export { BackupReceiver, type ReceiveOptions } from './receiver.js';
export { BackupSource, type BackupSourceOptions } from './source.js';
export { INCOMPLETE_MARKER, isIncomplete } from './target.js';
export * from './wire.js';
