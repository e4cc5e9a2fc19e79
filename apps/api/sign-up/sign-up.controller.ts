import { Body, Controller, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Identity } from '#libs/identity/control';
import { beforeTheChange, UnitOfWork } from '#libs/platform/database';
import { Answers, Limit, Public } from '#libs/platform/http';
import { agencyView, SignUps, signUpRequest, type SignUpRequest } from '#libs/tenancy/control';

const accepted = z
  .object({
    status: z.literal('confirmation-mailed'),
    id: z.uuid().meta({ description: 'The sign-up’s id: to ask for its mail again.' }),
  })
  .meta({ id: 'SignUpAccepted' });
const resendRequest = z.strictObject({ id: z.uuid() });
const confirmRequest = z.strictObject({
  token: z.string().min(1).max(100),
  password: z.string().min(1).max(200).meta({ description: 'The owner’s password, at least 12 characters.' }),
});

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
  request(@Body({ schema: signUpRequest }) body: SignUpRequest): Promise<z.infer<typeof accepted>> {
    return this.work.provider(async (tx) => ({
      status: 'confirmation-mailed',
      id: await this.signUps.request(tx, body),
    }));
  }

  @Post('resend')
  @Limit('sign-up-resend', 10, 600)
  @Answers({ status: 202, summary: 'Mails a fresh token for an open sign-up', description: ALWAYS, schema: accepted })
  resend(@Body({ schema: resendRequest }) body: z.infer<typeof resendRequest>): Promise<z.infer<typeof accepted>> {
    return this.work.provider(async (tx) => {
      await this.signUps.resend(tx, body.id);
      return { status: 'confirmation-mailed', id: body.id };
    });
  }

  @Post('confirm')
  @Limit('sign-up-confirm', 30, 600)
  @Answers({
    status: 201,
    summary: 'Confirms a sign-up with the mailed token and chooses the owner’s password; makes the agency',
    schema: agencyView,
  })
  async confirm(@Body({ schema: confirmRequest }) body: z.infer<typeof confirmRequest>) {
    const address = await beforeTheChange(() => this.work.provider((tx) => this.signUps.addressOf(tx, body.token)));
    const passwordHash = await this.identity.hash(body.password, address);
    return this.work.provider((tx) => this.signUps.confirm(tx, body.token, passwordHash));
  }
}
