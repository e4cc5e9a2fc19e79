import { createHmac, timingSafeEqual } from 'node:crypto';

/**
 * What a client holds of a session: the session's token and its HMAC under the server's secret, as better-auth signs
 * its cookies. The database holds the token alone, so a copy of the database opens no session.
 */
export class SessionTokens {
  constructor(private readonly secret: string) {}

  sign(token: string): string {
    return `${token}.${this.signature(token).toString('base64')}`;
  }

  /** The session's token, or undefined when it was not signed here. */
  verify(signed: string): string | undefined {
    const dot = signed.lastIndexOf('.');
    if (dot < 1 || signed.length > 300) return undefined;
    const token = signed.slice(0, dot);
    const given = Buffer.from(signed.slice(dot + 1), 'base64');
    const expected = this.signature(token);
    return given.length === expected.length && timingSafeEqual(given, expected) ? token : undefined;
  }

  private signature(token: string): Buffer {
    return createHmac('sha256', this.secret).update(token).digest();
  }
}
