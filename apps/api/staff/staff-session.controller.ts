import { Body, Controller, Delete, Get, Post, Req } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Audit } from '#libs/audit/control';
import {
  BeforeSecondFactor,
  CurrentStaff,
  Identity,
  refusalOf,
  SignIn,
  type SignedIn,
  SignInRefusedError,
  Staff,
  type StaffCaller,
  StaffOnly,
  staffRole,
} from '#libs/identity/control';
import { type ProviderTransaction, UnitOfWork } from '#libs/platform/database';
import { Answers, Public, SeveralTransactions } from '#libs/platform/http';
import { credentials } from '../session/session.schemas.js';

const staffSessionRequest = z.strictObject(credentials);
const staffCallerView = z
  .object({
    id: z.uuid(),
    email: z.string(),
    role: staffRole,
    secondFactor: z.boolean().meta({
      description: 'False: an operator or administrator must set an authenticator app up before anything else.',
    }),
  })
  .meta({ id: 'StaffCaller' });
const staffSessionView = z
  .object({ token: z.string(), expiresAt: z.iso.datetime(), caller: staffCallerView })
  .meta({ id: 'StaffSession' });

@ApiTags('Staff')
@Controller('v1/staff/sessions')
export class StaffSessionController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly identity: Identity,
    private readonly staff: Staff,
    private readonly signing: SignIn,
    private readonly audit: Audit,
  ) {}

  @Post()
  @Public()
  @SeveralTransactions()
  @Answers({ status: 201, summary: 'Signs a member of the provider’s staff in', schema: staffSessionView })
  async open(
    @Body({ schema: staffSessionRequest }) body: z.infer<typeof staffSessionRequest>,
    @Req() request: FastifyRequest,
  ): Promise<z.infer<typeof staffSessionView>> {
    const outcome = await this.signing.attempt({ ...body, address: request.ip }, (tx, signedIn) =>
      this.dedicate(tx, signedIn),
    );
    if (outcome.kind !== 'signed-in') throw refusalOf(outcome);
    if (!outcome.value) throw new SignInRefusedError();
    return outcome.value;
  }

  private async dedicate(tx: ProviderTransaction, signedIn: SignedIn) {
    const caller = await this.staff.ofUser(tx, signedIn.userId);
    if (!caller) {
      await this.identity.endSession(tx, signedIn.token);
      return undefined;
    }
    const { token, expiresAt } = await this.identity.dedicate(tx, signedIn.token, { audience: 'staff' });
    await this.audit.record(tx, {
      tenantId: null,
      actor: caller.actor,
      action: 'session.opened',
      subjectKind: 'staff',
      subjectId: caller.id,
    });
    return { token, expiresAt: expiresAt.toISOString(), caller };
  }

  @Get('current')
  @StaffOnly()
  @BeforeSecondFactor()
  @Answers({ status: 200, summary: 'Who calls', schema: staffCallerView })
  current(@CurrentStaff() caller: StaffCaller) {
    return caller;
  }

  @Delete('current')
  @StaffOnly()
  @BeforeSecondFactor()
  @Answers({ status: 204, summary: 'Signs the staff member out' })
  async close(@Req() request: FastifyRequest): Promise<void> {
    const token = request.sessionToken;
    if (token !== undefined) await this.work.provider((tx) => this.identity.endSession(tx, token));
  }
}
