export * from './configuration.js';
export * from './durable-file.js';
export * from './enrolment.js';
export * from './errors.js';
export * from './state-directory.js';
