export * from './mailer.js';
export * from './mail.module.js';
export type { MailOptions } from './mail-sending.js';
