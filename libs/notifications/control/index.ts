export * from './notice.js';
export { Notices, noticeView, type NoticeView } from './notices.js';
export * from './notifications.module.js';
