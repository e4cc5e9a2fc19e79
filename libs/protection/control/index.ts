export * from './function.service.js';
export * from './protection.errors.js';
export * from './protection.module.js';
export * from './workload.service.js';
