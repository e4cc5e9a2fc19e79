import type { FastifyReply } from 'fastify';
import { SESSION_COOKIE } from '#libs/platform/http';

/** Sets or ends the session cookie: out of reach of scripts, sent to us alone, over TLS wherever we are reached so. */
export function setSessionCookie(reply: FastifyReply, publicUrl: string, token: string, seconds: number): void {
  const secure = publicUrl.startsWith('https:') ? '; Secure' : '';
  const attributes = `Path=/; HttpOnly; SameSite=Lax; Max-Age=${seconds}${secure}`;
  void reply.header('Set-Cookie', `${SESSION_COOKIE}=${encodeURIComponent(token)}; ${attributes}`);
}

export const endSessionCookie = (reply: FastifyReply, publicUrl: string): void =>
  setSessionCookie(reply, publicUrl, '', 0);
