import { Body, Controller, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Identity } from '#libs/identity/control';
import { UnitOfWork } from '#libs/platform/database';
import { Answers, Limit, Public } from '#libs/platform/http';
import { agencyView, email, SignUps, signUpRequest, type SignUpRequest } from '#libs/tenancy/control';

const accepted = z
  .object({ status: z.literal('confirmation-mailed'), email: z.string() })
  .meta({ id: 'SignUpAccepted' });
const resendRequest = z.strictObject({ email });
const confirmRequest = z.strictObject({ token: z.string().min(1).max(100) });

const ALWAYS = 'The answer is the same whether the address is known or not; the mail tells its owner.';

@ApiTags('Sign-up')
@Public()
@Controller('v1/sign-ups')
export class SignUpController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly signUps: SignUps,
    private readonly identity: Identity,
  ) {}

  @Post()
  @Limit('sign-up', 10, 600)
  @Answers({ status: 202, summary: 'Signs an agency up; a mail confirms it', description: ALWAYS, schema: accepted })
  async request(@Body({ schema: signUpRequest }) body: SignUpRequest): Promise<z.infer<typeof accepted>> {
    // Hashed for a known address too, and outside the transaction: neither time nor a connection is given away.
    const passwordHash = await this.identity.hash(body.password, body.email);
    return this.work.provider(async (tx) => {
      await this.signUps.request(tx, body, passwordHash);
      return { status: 'confirmation-mailed', email: body.email };
    });
  }

  @Post('resend')
  @Limit('sign-up-resend', 10, 600)
  @Answers({ status: 202, summary: 'Mails a fresh token for an open sign-up', description: ALWAYS, schema: accepted })
  resend(@Body({ schema: resendRequest }) body: z.infer<typeof resendRequest>): Promise<z.infer<typeof accepted>> {
    return this.work.provider(async (tx) => {
      await this.signUps.resend(tx, body.email);
      return { status: 'confirmation-mailed', email: body.email };
    });
  }

  @Post('confirm')
  @Limit('sign-up-confirm', 30, 600)
  @Answers({ status: 201, summary: 'Confirms a sign-up with the mailed token; makes the agency', schema: agencyView })
  confirm(@Body({ schema: confirmRequest }) body: z.infer<typeof confirmRequest>) {
    return this.work.provider((tx) => this.signUps.confirm(tx, body.token));
  }
}
