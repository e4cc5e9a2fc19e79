import { type DynamicModule, Module } from '@nestjs/common';
import { MailNotices } from './notice-mail.js';
import { Notices } from './notices.js';

/** For the API: the list of notices. */
@Module({ providers: [Notices], exports: [Notices] })
export class NotificationsModule {
  /** For the worker, beside OutboxModule.delivering(), MailModule and TenancyModule.forWorker(): tells people. */
  static telling(): DynamicModule {
    return { module: NotificationsModule, providers: [MailNotices] };
  }
}
