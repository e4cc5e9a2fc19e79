import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { Agencies } from './agencies/agencies.js';
import { ApiKeys } from './access/api-keys.js';
import { Callers } from './access/callers.js';
import { Contacts } from './agencies/contacts.js';
import { SweepExpiredHandler, sweepExpiredJob } from './expiry.js';
import { HandedOutByMembers } from './access/handed-out.js';
import { Invitations } from './members/invitations.js';
import { Inviting } from './members/inviting.js';
import { MemberSessions } from './members/member-sessions.js';
import { Members } from './members/members.js';
import { SignUps } from './agencies/sign-ups.js';
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
