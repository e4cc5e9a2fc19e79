import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { Agencies } from './agencies.js';
import { ApiKeys } from './api-keys.js';
import { Contacts } from './contacts.js';
import { SweepExpiredHandler, sweepExpiredJob } from './expiry.js';
import { Invitations } from './invitations.js';
import { MemberSessions } from './member-sessions.js';
import { Members } from './members.js';
import { SignUps } from './sign-ups.js';
import { TenancyGuard } from './tenancy.guard.js';
import { TENANCY_OPTIONS, type TenancyOptions } from './tenancy.options.js';

/** The jobs that the worker runs for {@link TenancyModule.forWorker}. */
export const TENANCY_JOBS = [sweepExpiredJob] as const;

const SERVICES = [Agencies, ApiKeys, Invitations, Members, MemberSessions, SignUps];

@Global()
@Module({})
export class TenancyModule {
  /** For the API: the services and the guard. Needs IdentityModule, AuditModule and MailModule beside it. */
  static forProcess(options: TenancyOptions): DynamicModule {
    return {
      module: TenancyModule,
      providers: [
        { provide: TENANCY_OPTIONS, useValue: options },
        ...SERVICES,
        { provide: APP_GUARD, useClass: TenancyGuard },
      ],
      exports: SERVICES,
    };
  }

  /** For the worker: what deletes the expired, and whom to tell of things. */
  static forWorker(): DynamicModule {
    return { module: TenancyModule, providers: [SweepExpiredHandler, Contacts], exports: [Contacts] };
  }
}
