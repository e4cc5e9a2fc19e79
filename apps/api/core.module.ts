import { type DynamicModule, Module } from '@nestjs/common';
import { AuditModule } from '#libs/audit/control';
import { IdentityModule } from '#libs/identity/control';
import { DatabaseModule } from '#libs/platform/database';
import type { Observability } from '#libs/platform/config';
import { MailModule } from '#libs/platform/mail';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { OutboxModule } from '#libs/platform/outbox';
import { QueueModule } from '#libs/platform/queue';
import { TenancyModule } from '#libs/tenancy/control';
import type { CoreEnvironment } from './api.environment.js';

/** What every domain of the API builds on: the database, the queue, and who calls. */
@Module({})
export class CoreModule {
  static forProcess(name: string, environment: CoreEnvironment, observability?: Observability): DynamicModule {
    const pool = { applicationName: `mainstay ${name}` };
    return {
      module: CoreModule,
      imports: [
        TelemetryModule.forProcess(name, environment.LOG_LEVEL, observability),
        ClockModule,
        DatabaseModule.forControl({
          tenant: { url: environment.TENANT_DATABASE_URL, ...pool },
          provider: { url: environment.PROVIDER_DATABASE_URL, ...pool },
        }),
        QueueModule.forProcess({ url: environment.QUEUE_URL, prefix: 'control', runs: [] }),
        OutboxModule,
        MailModule,
        AuditModule,
        IdentityModule.forProcess({ secret: environment.SESSION_SECRET_FILE, publicUrl: environment.PUBLIC_URL }),
        TenancyModule.forProcess({ publicUrl: environment.PUBLIC_URL, environment: environment.ENVIRONMENT_NAME }),
      ],
    };
  }
}
