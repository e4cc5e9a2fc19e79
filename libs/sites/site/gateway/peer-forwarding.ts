import type { Readable } from 'node:stream';
import { DomainError, ERROR_KINDS, errorText, type ErrorKind } from '#libs/platform/errors';
import { z } from 'zod';
import { PEER_CALLER_HEADER } from '../peers/peer-commands.js';
import type { PeerCaller } from '../peers/peer-sites.js';
import { askSocket, readJson } from '../socket/socket-request.js';
import { KIND_HEADER } from '../socket/socket-server.js';

export type ForwardedAnswer = { readonly json: unknown } | { readonly stream: Readable; readonly contentType: string };

const refusal = z.object({ code: z.string(), message: z.string() });

/** What this site's own process answered to a peer's command, with its code and text. */
class SiteProcessError extends DomainError {}

/**
 * Hands a peer's command on to the site process, once the gateway has let it in.
 *
 * @throws DomainError with the code and text for the peer
 */
export async function forwardPeerCommand(
  siteSocket: string,
  caller: PeerCaller,
  path: string,
  body: unknown,
  signal: AbortSignal,
): Promise<ForwardedAnswer> {
  const answer = await askSocket({
    socketPath: siteSocket,
    method: 'POST',
    path,
    headers: { [PEER_CALLER_HEADER]: JSON.stringify(caller) },
    body: JSON.stringify(body ?? null),
    signal,
  }).catch((error: unknown) => {
    throw new SiteProcessError('unavailable', 'site.unavailable', 'The other warm site is starting. Try again.', {
      detail: errorText(error),
    });
  });
  const contentType = answer.headers['content-type'] ?? '';
  if (answer.status < 400 && !contentType.startsWith('application/json')) return { stream: answer.body, contentType };
  const json = await readJson(answer.body);
  if (answer.status < 400) return { json };
  const said = refusal.safeParse(json);
  const kind = ERROR_KINDS.find((known): known is ErrorKind => known === answer.headers[KIND_HEADER]) ?? 'internal';
  if (said.success) throw new SiteProcessError(kind, said.data.code, said.data.message);
  throw new SiteProcessError('internal', 'internal', 'The other warm site failed. Its log says why.');
}
