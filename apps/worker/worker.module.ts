import { type DynamicModule, Module } from '@nestjs/common';
import { ARCHIVE_JOBS, ArchiveModule } from '#libs/archive/control';
import { AuditModule } from '#libs/audit/control';
import { FailoverModule } from '#libs/failover/control';
import { NotificationsModule } from '#libs/notifications/control';
import { DatabaseModule } from '#libs/platform/database';
import { MAIL_JOBS, MailModule } from '#libs/platform/mail';
import type { Observability } from '#libs/platform/config';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { OUTBOX_JOBS, OutboxModule } from '#libs/platform/outbox';
import { type JobContract, QueueModule } from '#libs/platform/queue';
import { SITES_JOBS, SitesModule } from '#libs/sites/control';
import { TENANCY_JOBS, TenancyModule } from '#libs/tenancy/control';
import type { WorkerEnvironment } from './worker.environment.js';

/** Every job of the control plane: the start fails unless each has exactly one handler here. */
const JOBS = [
  ...MAIL_JOBS,
  ...OUTBOX_JOBS,
  ...TENANCY_JOBS,
  ...SITES_JOBS,
  ...ARCHIVE_JOBS,
] as unknown as readonly JobContract<never>[];

/** What the control plane does by itself: mail, events, orders to the sites, what the sites answer. */
@Module({})
export class WorkerModule {
  static forProcess(environment: WorkerEnvironment, observability?: Observability): DynamicModule {
    const pool = { applicationName: 'mainstay worker' };
    return {
      module: WorkerModule,
      imports: [
        TelemetryModule.forProcess('worker', environment.LOG_LEVEL, observability),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: environment.TENANT_DATABASE_URL, ...pool, max: 2 },
          provider: { url: environment.PROVIDER_DATABASE_URL, ...pool },
        }),
        QueueModule.forProcess({ url: environment.QUEUE_URL, prefix: 'control', runs: JOBS }),
        MailModule.sending({ smtpUrl: environment.SMTP_URL, from: environment.MAIL_FROM }),
        OutboxModule.delivering(),
        AuditModule,
        TenancyModule.forWorker(),
        NotificationsModule.telling(),
        SitesModule.delivering({
          orderSigningKey: environment.ORDER_SIGNING_KEY_FILE,
          tls: {
            certificate: environment.CONTROL_TLS_CERT_FILE,
            key: environment.CONTROL_TLS_KEY_FILE,
            authority: environment.CONTROL_TLS_CA_FILE,
          },
        }),
        FailoverModule,
        ArchiveModule.watching(),
      ],
    };
  }
}
