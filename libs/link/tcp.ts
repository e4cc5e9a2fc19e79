import net from 'node:net';
import { once } from 'node:events';
import { ReadPump } from './read-pump.js';

const KEEP_ALIVE_MS = 15_000;

export type TcpTarget = { readonly host: string; readonly port: number } | { readonly path: string };

/**
 * A connected socket to a server, set up for splicing: no delay, half-open allowed, TCP keepalive.
 *
 * @throws the system's error (ECONNREFUSED, …), or ETIMEDOUT after `timeoutMs`.
 */
export async function connectTcp(target: TcpTarget, timeoutMs = 5_000): Promise<net.Socket> {
  const pump = new ReadPump();
  const socket = net.connect({ ...target, allowHalfOpen: true, noDelay: true, onread: pump.onread });
  pump.attach(socket);
  socket.setKeepAlive(true, KEEP_ALIVE_MS);
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error(`no connection within ${timeoutMs / 1000} s`), { code: 'ETIMEDOUT' }));
  }, timeoutMs);
  try {
    await once(socket, 'connect');
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
