export * from './armed-leases.js';
export * from './forwarders.js';
export * from './front-doors.js';
export { SitePorts } from './site-ports.js';
