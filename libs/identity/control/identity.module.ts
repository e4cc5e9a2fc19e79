import { type DynamicModule, Global, Module } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import { AuthenticationLibrary } from './authentication.js';
import { Identity } from './identity.service.js';
import { PasswordResets } from './passwords/password-resets.js';
import { PasswordWork } from './passwords/password-work.js';
import { Refusals } from './refusals.js';
import { SessionTokens } from './sessions/session-token.js';
import { SignIn } from './sessions/sign-in.js';
import { StaffGuard } from './staff/staff.guard.js';
import { Staff } from './staff/staff.service.js';
import { TwoFactor } from './sessions/two-factor.js';

export interface IdentityOptions {
  /** Signs sessions and seals second factors; at least 32 characters, the same in all processes. */
  readonly secret: string;
  readonly publicUrl: string;
}

@Global()
@Module({})
export class IdentityModule {
  static forProcess(options: IdentityOptions): DynamicModule {
    return {
      module: IdentityModule,
      providers: [
        PasswordWork,
        Refusals,
        Staff,
        { provide: SessionTokens, useFactory: () => new SessionTokens(options.secret) },
        {
          provide: AuthenticationLibrary,
          useFactory: () => new AuthenticationLibrary(options.secret, options.publicUrl),
        },
        Identity,
        PasswordResets,
        SignIn,
        TwoFactor,
      ],
      exports: [Identity, PasswordResets, SessionTokens, SignIn, Staff, TwoFactor],
    };
  }

  /** Beside HttpModule and {@link forProcess}: lets staff into their routes. */
  static guarding(): DynamicModule {
    return { module: IdentityModule, providers: [{ provide: APP_GUARD, useClass: StaffGuard }] };
  }
}
