export { CopyVolume } from './copy-volume.js';
export * from './errors.js';
export { directoryUsage } from './usage.js';
export * from './volume.js';
