import { type DynamicModule, Global, Module } from '@nestjs/common';
import { mailCollector } from './mail.metrics.js';
import { MAIL_OPTIONS, type MailOptions, SendMailHandler, SweepMailHandler } from './mail-sending.js';
import { Mailer, sendMailJob, sweepMailJob } from './mailer.js';

export const MAIL_JOBS = [sendMailJob, sweepMailJob] as const;

@Global()
@Module({ providers: [Mailer], exports: [Mailer] })
export class MailModule {
  /** In the process that sends mails, beside those that write them. */
  static sending(options: MailOptions): DynamicModule {
    return {
      module: MailModule,
      providers: [{ provide: MAIL_OPTIONS, useValue: options }, SendMailHandler, SweepMailHandler, mailCollector],
    };
  }
}
