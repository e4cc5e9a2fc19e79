export * from './driver.js';
export * from './errors.js';
export { ProcessDriver, type ProcessDriverOptions } from './process-driver.js';
