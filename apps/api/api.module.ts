import { type DynamicModule, Module } from '@nestjs/common';
import { ArchiveModule } from '#libs/archive/control';
import { NotificationsModule } from '#libs/notifications/control';
import { FailoverModule } from '#libs/failover/control';
import { IdentityModule } from '#libs/identity/control';
import type { Observability } from '#libs/platform/config';
import { ProtectionModule } from '#libs/protection/control';
import { SitesModule } from '#libs/sites/control';
import { TenancyModule } from '#libs/tenancy/control';
import { AgencyController } from './agency/agency.controller.js';
import { AgentSelfController } from './agents/agent-self.controller.js';
import { AgentsController } from './agents/agents.controller.js';
import { EnrolmentTokensController } from './agents/enrolment-tokens.controller.js';
import type { ApiEnvironment } from './api.environment.js';
import { ApiKeysController } from './api-keys/api-keys.controller.js';
import { ArchiveKeysController } from './archives/archive-keys.controller.js';
import { ArchiveRemovalsController } from './archives/archive-removals.controller.js';
import { ArchiveRunsController } from './archives/archive-runs.controller.js';
import { ArchivesController } from './archives/archives.controller.js';
import { MassChangesController } from './archives/mass-changes.controller.js';
import { WorkStreams } from './archives/work-streams.js';
import { AuditController } from './audit/audit.controller.js';
import { CoreModule } from './core.module.js';
import { DeclarationsController } from './failovers/declarations.controller.js';
import { EventStreams } from './failovers/event-streams.js';
import { FailoversController } from './failovers/failovers.controller.js';
import { FunctionsController } from './functions/functions.controller.js';
import { InvitationsController } from './members/invitations.controller.js';
import { MembersController } from './members/members.controller.js';
import { NoticesController } from './notices/notices.controller.js';
import { ProtectionsController } from './protections/protections.controller.js';
import { ArchivePointsController } from './recovery-points/archive-points.controller.js';
import { RecoveryPointsController } from './recovery-points/recovery-points.controller.js';
import { RestoresController } from './restores/restores.controller.js';
import { PasswordChangeNotice } from './session/password-change-notice.js';
import { PasswordResetsController } from './session/password-resets.controller.js';
import { SessionController } from './session/session.controller.js';
import { TwoFactorController } from './session/two-factor.controller.js';
import { ConfirmPageController } from './sign-up/confirm-page.controller.js';
import { SignUpController } from './sign-up/sign-up.controller.js';
import { SitesController } from './sites/sites.controller.js';
import { StaffSitesController } from './sites/staff-sites.controller.js';
import { StaffAgenciesController } from './staff/staff-agencies.controller.js';
import { StaffController } from './staff/staff.controller.js';
import { StaffSessionController } from './staff/staff-session.controller.js';
import { StaffTwoFactorController } from './staff/staff-two-factor.controller.js';
import { PreflightsController } from './workloads/preflights.controller.js';
import { WorkloadsController } from './workloads/workloads.controller.js';

/** The REST API: one folder of controllers for each domain, all on the core. */
@Module({})
export class ApiModule {
  static forProcess(environment: ApiEnvironment, observability?: Observability): DynamicModule {
    return {
      module: ApiModule,
      imports: [
        CoreModule.forProcess('api', environment, observability),
        IdentityModule.guarding(),
        TenancyModule.guarding(),
        NotificationsModule,
        SitesModule.giving({
          orderSigningKey: environment.ORDER_SIGNING_KEY_FILE,
          tls: {
            certificate: environment.CONTROL_TLS_CERT_FILE,
            key: environment.CONTROL_TLS_KEY_FILE,
            authority: environment.CONTROL_TLS_CA_FILE,
          },
        }),
        ProtectionModule,
        FailoverModule.streaming({ databaseUrl: environment.TENANT_DATABASE_URL }),
        ArchiveModule.streaming({ databaseUrl: environment.TENANT_DATABASE_URL }),
      ],
      controllers: [
        SignUpController,
        ConfirmPageController,
        SessionController,
        TwoFactorController,
        PasswordResetsController,
        AgencyController,
        MembersController,
        InvitationsController,
        ApiKeysController,
        AuditController,
        NoticesController,
        StaffSessionController,
        StaffController,
        StaffTwoFactorController,
        StaffAgenciesController,
        StaffSitesController,
        SitesController,
        // Before the agents: /v1/agents/self is no agent's id.
        AgentSelfController,
        AgentsController,
        EnrolmentTokensController,
        FunctionsController,
        WorkloadsController,
        PreflightsController,
        ProtectionsController,
        ArchivesController,
        ArchiveRunsController,
        ArchivePointsController,
        ArchiveKeysController,
        ArchiveRemovalsController,
        MassChangesController,
        RecoveryPointsController,
        RestoresController,
        DeclarationsController,
        FailoversController,
      ],
      providers: [EventStreams, WorkStreams, PasswordChangeNotice],
    };
  }
}
