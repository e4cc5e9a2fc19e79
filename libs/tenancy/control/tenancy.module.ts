import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { Agencies } from './agencies.js';
import { ApiKeys } from './api-keys.js';
import { Callers } from './callers.js';
import { Contacts } from './contacts.js';
import { SweepExpiredHandler, sweepExpiredJob } from './expiry.js';
import { HandedOutByMembers } from './handed-out.js';
import { Invitations } from './invitations.js';
import { Inviting } from './inviting.js';
import { MemberSessions } from './member-sessions.js';
import { Members } from './members.js';
import { SignUps } from './sign-ups.js';
import { TenancyGuard } from './tenancy.guard.js';
import { TENANCY_OPTIONS, type TenancyOptions } from './tenancy.options.js';

/** The jobs that the worker runs for {@link TenancyModule.forWorker}. */
export const TENANCY_JOBS = [sweepExpiredJob] as const;

const SERVICES = [
  Agencies,
  ApiKeys,
  Callers,
  HandedOutByMembers,
  Invitations,
  Inviting,
  Members,
  MemberSessions,
  SignUps,
];

@Global()
@Module({})
export class TenancyModule {
  /** For the API and the programs beside it: the services. Needs IdentityModule, AuditModule and MailModule beside it. */
  static forProcess(options: TenancyOptions): DynamicModule {
    return {
      module: TenancyModule,
      providers: [{ provide: TENANCY_OPTIONS, useValue: options }, ...SERVICES],
      exports: SERVICES,
    };
  }

  /** Beside HttpModule and {@link forProcess}: lets members and API keys into their routes. */
  static guarding(): DynamicModule {
    return { module: TenancyModule, providers: [{ provide: APP_GUARD, useClass: TenancyGuard }] };
  }

  /** For the worker: what deletes the expired, and whom to tell of things. */
  static forWorker(): DynamicModule {
    return {
      module: TenancyModule,
      providers: [SweepExpiredHandler, Contacts, HandedOutByMembers],
      exports: [Contacts, HandedOutByMembers],
    };
  }
}
