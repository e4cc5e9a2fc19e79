// What the link process needs of this library, without the queue and the driver, which it does not have.
export type { Lane } from '../agents/agent-commands.js';
export type { LinkStates } from '../agents/linked-agents.js';
export { SITE_DATABASE_URL } from '../outbox/outbox-reader.js';
export * from '../outbox/site-outbox.js';
export * from '../site-environment.js';
export * from '../site-settings.js';
export * from './agent-register.js';
export * from './link-socket.js';
export { forwardPeerCommand } from './peer-forwarding.js';
