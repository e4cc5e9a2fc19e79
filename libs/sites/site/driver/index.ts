export * from './driver.js';
export * from './errors.js';
export { libraryNames } from './preload-libraries.js';
export { ProcessDriver } from './process-driver.js';
export { type ProcessDriverOptions } from './process-driver-options.js';
export type { UidRange } from './workload-users.js';
