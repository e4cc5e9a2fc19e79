import type { FastifyRequest } from 'fastify';
import { SESSION_COOKIE } from '#libs/platform/http';

/** What a request brings to show who it is: the bearer token, or else the session cookie. */
export function credentialOf(request: FastifyRequest): string | undefined {
  const { authorization, cookie } = request.headers;
  if (authorization !== undefined) return /^Bearer\s+(\S+)$/i.exec(authorization)?.[1];
  const found = cookie
    ?.split(';')
    .map((part) => part.trim())
    .find((part) => part.startsWith(`${SESSION_COOKIE}=`));
  if (found === undefined) return undefined;
  try {
    return decodeURIComponent(found.slice(SESSION_COOKIE.length + 1));
  } catch {
    // Not made by us, whatever it is: nobody.
    return undefined;
  }
}
