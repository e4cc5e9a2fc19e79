import { Body, Controller, Inject, Post, Req } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { Identity, PasswordResets } from '#libs/identity/control';
import { beforeTheChange, UnitOfWork } from '#libs/platform/database';
import { Answers, HTTP_OPTIONS, type HttpOptions, Limit, Public } from '#libs/platform/http';
import { Mailer } from '#libs/platform/mail';
import { email, MemberSessions, TokenInvalidError } from '#libs/tenancy/control';
import { PasswordChangeNotice } from './password-change-notice.js';

const resetRequest = z.strictObject({ email });
const accepted = z.object({ status: z.literal('mailed-if-known') }).meta({ id: 'PasswordResetAccepted' });
const confirmRequest = z.strictObject({ token: z.string().min(1).max(100), password: z.string().min(1).max(200) });

@ApiTags('Sessions')
@Public()
@Controller('v1/password-resets')
export class PasswordResetsController {
  constructor(
    private readonly work: UnitOfWork,
    private readonly identity: Identity,
    private readonly resets: PasswordResets,
    private readonly sessions: MemberSessions,
    private readonly mailer: Mailer,
    private readonly notice: PasswordChangeNotice,
    @Inject(HTTP_OPTIONS) private readonly options: HttpOptions,
  ) {}

  @Post()
  @Limit('password-reset', 10, 600)
  @Answers({
    status: 202,
    summary: 'Mails a token to choose a new password with',
    description: 'The answer is the same whether the address is known or not.',
    schema: accepted,
  })
  request(@Body({ schema: resetRequest }) body: z.infer<typeof resetRequest>): Promise<z.infer<typeof accepted>> {
    return this.work.provider(async (tx) => {
      const token = await this.resets.issue(tx, body.email);
      if (token !== undefined) await this.mailer.write(tx, this.mail(body.email, token));
      return { status: 'mailed-if-known' };
    });
  }

  @Post('confirm')
  @Limit('password-reset-confirm', 30, 600)
  @Answers({
    status: 204,
    summary: 'Sets a new password with the mailed token, and ends all sessions of that person',
    description: 'Invitations and API keys that the person made stay; a notice lists them.',
  })
  async confirm(
    @Body({ schema: confirmRequest }) body: z.infer<typeof confirmRequest>,
    @Req() request: FastifyRequest,
  ): Promise<void> {
    const whose = await beforeTheChange(() => this.work.provider((tx) => this.resets.find(tx, body.token)));
    if (!whose) throw new TokenInvalidError();
    const passwordHash = await this.identity.hash(body.password, whose.email);
    await this.work.provider(async (tx) => {
      const person = await this.resets.use(tx, body.token, passwordHash, request.ip);
      if (!person) throw new TokenInvalidError();
      await this.notice.tell(tx, person);
      await this.sessions.recordForPerson(tx, person.userId, 'password.reset');
    });
  }

  private mail(to: string, token: string) {
    return {
      to,
      subject: 'Choose a new password',
      text: `Somebody asked for a new password for this address at Mainstay.

If it was you, open this page within an hour:

  ${this.options.publicUrl}/reset#token=${token}

If it was not you, do nothing: your password stays as it is.

-- 
Mainstay, continuity of operations for local government
`,
    };
  }
}
