import { type DynamicModule, Module } from '@nestjs/common';
import { NotificationsModule } from '#libs/notifications/control';
import { AgencyController } from './agency/agency.controller.js';
import type { ApiEnvironment } from './api.environment.js';
import { ApiKeysController } from './api-keys/api-keys.controller.js';
import { AuditController } from './audit/audit.controller.js';
import { CoreModule } from './core.module.js';
import { InvitationsController } from './members/invitations.controller.js';
import { MembersController } from './members/members.controller.js';
import { NoticesController } from './notices/notices.controller.js';
import { SessionController } from './session/session.controller.js';
import { TwoFactorController } from './session/two-factor.controller.js';
import { ConfirmPageController } from './sign-up/confirm-page.controller.js';
import { SignUpController } from './sign-up/sign-up.controller.js';
import { StaffAgenciesController } from './staff/staff-agencies.controller.js';
import { StaffController } from './staff/staff.controller.js';
import { StaffSessionController } from './staff/staff-session.controller.js';

/** The REST API: one folder of controllers for each domain, all on the core. */
@Module({})
export class ApiModule {
  static forProcess(environment: ApiEnvironment): DynamicModule {
    return {
      module: ApiModule,
      imports: [CoreModule.forProcess('api', environment), NotificationsModule],
      controllers: [
        SignUpController,
        ConfirmPageController,
        SessionController,
        TwoFactorController,
        AgencyController,
        MembersController,
        InvitationsController,
        ApiKeysController,
        AuditController,
        NoticesController,
        StaffSessionController,
        StaffController,
        StaffAgenciesController,
      ],
    };
  }
}
