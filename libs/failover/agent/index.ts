export * from './fencing-record.js';
export * from './gate.js';
export * from './server-fencing.js';
