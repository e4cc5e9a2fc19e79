import { Body, Controller, Delete, Param, Post, Req } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import {
  BeforeSecondFactor,
  CurrentStaff,
  SignInRefusedError,
  Staff,
  type StaffCaller,
  StaffOnly,
  TwoFactor,
} from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, idParam, Limit } from '#libs/platform/http';
import {
  type CodeBody,
  codeBody,
  type PasswordBody,
  passwordBody,
  twoFactorSetUp,
} from '../session/two-factor.schemas.js';

const renewedStaffSession = z
  .object({ token: z.string(), expiresAt: z.iso.datetime() })
  .meta({ id: 'RenewedStaffSession' });

/**
 * The second factor of the provider's staff. Operators and administrators need one: until it is set up, these routes
 * are all that their session opens. It is taken away by an administrator only.
 */
@ApiTags('Staff')
@Controller('v1/staff')
export class StaffTwoFactorController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly twoFactor: TwoFactor,
    private readonly staff: Staff,
    private readonly audit: Audit,
  ) {}

  @Post('sessions/current/two-factor')
  @StaffOnly()
  @BeforeSecondFactor()
  @Limit('two-factor', 10, 60)
  @Answers({ status: 201, summary: 'Begins the set-up of an authenticator app', schema: twoFactorSetUp })
  async begin(@Body({ schema: passwordBody }) body: PasswordBody, @Req() request: FastifyRequest) {
    const token = sessionOf(request);
    const proven = await this.twoFactor.prove(token, body.password);
    return this.work.provider((tx) => this.twoFactor.begin(tx, token, proven));
  }

  @Post('sessions/current/two-factor/confirm')
  @StaffOnly()
  @BeforeSecondFactor()
  @Limit('two-factor', 10, 60)
  @Answers({
    status: 200,
    summary: 'Ends the set-up with a code; the session’s token is renewed, other sessions end',
    schema: renewedStaffSession,
  })
  confirm(
    @Body({ schema: codeBody }) body: CodeBody,
    @CurrentStaff() caller: StaffCaller,
    @Req() request: FastifyRequest,
  ) {
    return this.work.provider(async (tx) => {
      const { token, expiresAt } = await this.twoFactor.confirm(tx, sessionOf(request), body.code);
      await this.audit.record(tx, {
        tenantId: null,
        actor: caller.actor,
        action: 'two-factor.set-up',
        subjectKind: 'staff',
        subjectId: caller.id,
      });
      return { token, expiresAt: expiresAt.toISOString() };
    });
  }

  @Delete('members/:id/two-factor')
  @StaffOnly('administrator')
  @Answers({ status: 204, summary: 'Takes away a lost authenticator app; the next sign-in sets a new one up' })
  async reset(@CurrentStaff() caller: StaffCaller, @Param('id', { schema: idParam }) id: string): Promise<void> {
    await this.work.provider((tx) => this.staff.resetSecondFactor(tx, id, caller));
  }
}

function sessionOf(request: FastifyRequest): string {
  if (request.sessionToken === undefined) throw new SignInRefusedError();
  return request.sessionToken;
}
