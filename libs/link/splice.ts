import net from 'node:net';
import type { Duplex } from 'node:stream';
import { errorCode } from '#libs/platform/errors';
import { pumpOf } from './read-pump.js';

/** The TCP socket under each TLS socket: only it can send a reset. */
const underlying = new WeakMap<Duplex, net.Socket>();

export function ownsSocket(socket: Duplex, raw: net.Socket): void {
  underlying.set(socket, raw);
}

/**
 * Ends a connection so that its other end cannot take it for a clean end: by a TCP reset where there is TCP beneath.
 * Safe to repeat.
 */
export function abort(stream: Duplex): void {
  const raw = underlying.get(stream) ?? stream;
  if (raw instanceof net.Socket && !raw.destroyed && raw.remoteAddress !== undefined) raw.resetAndDestroy();
  stream.destroy();
}

/**
 * Makes destroy(), with which whoever got the stream gives it up, an abort while it has not ended both ways: over TCP
 * alone the other end would take it for the end of one direction and wait.
 */
export function abortWhenDestroyed(stream: Duplex): Duplex {
  const destroy = stream.destroy.bind(stream);
  stream.destroy = (error?: Error) => {
    const raw = underlying.get(stream);
    const over = stream.readableEnded && stream.writableFinished;
    const broken = errorCode(error) === 'ECONNRESET' || errorCode(error) === 'EPIPE';
    if (!over && !broken && !stream.destroyed && raw?.destroyed === false) raw.resetAndDestroy();
    return destroy(error);
  };
  return stream;
}

/**
 * Joins two connections until both directions have ended: bytes both ways, at the speed of the slower end, an end of
 * one direction passed on as such, and an error or a premature close at one end as an abort of the other.
 *
 * Plain pipes and pumps between native sockets: a transform, or HTTP/2's frames, cost a quarter of the commits per
 * second (README, "Measured").
 */
export function splice(left: Duplex, right: Duplex, closed?: () => void): void {
  let open = 2;
  const forward = (from: Duplex, to: Duplex): void => {
    const pump = pumpOf(from);
    if (pump) pump.into(to);
    else from.pipe(to, { end: false });
    from.once('end', () => {
      if (!to.destroyed && to.writable) to.end();
    });
    from.once('error', () => abort(to));
    from.once('close', () => {
      if (!from.readableEnded || !from.writableFinished) abort(to);
      open -= 1;
      if (open === 0) closed?.();
    });
    if (from.destroyed) abort(to);
  };
  forward(left, right);
  forward(right, left);
}
