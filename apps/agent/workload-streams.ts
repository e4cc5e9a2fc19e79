import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import { WorkloadUnreachableError } from '#libs/link';
import type { PostgresWorkload } from '#libs/sites/agent';

const CONNECT_MS = 5_000;

/** The sites' streams to the agency's servers, each known by whose it is. */
export class WorkloadStreams {
  private readonly open = new Map<Duplex, { readonly siteId: string; readonly name: string }>();

  /** @throws WorkloadUnreachableError */
  connect({ name, host, port }: PostgresWorkload, siteId: string): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host, port, noDelay: true });
      socket.setTimeout(CONNECT_MS, () => socket.destroy(new Error('no answer in time')));
      socket.once('connect', () => {
        socket.setTimeout(0);
        this.open.set(socket, { siteId, name });
        socket.once('close', () => this.open.delete(socket));
        resolve(socket);
      });
      socket.once('error', (error) => reject(new WorkloadUnreachableError(name, error)));
    });
  }

  /** Ends those that may not be any more. */
  endUnless(allowed: (siteId: string, name: string) => boolean): void {
    for (const [socket, { siteId, name }] of this.open) if (!allowed(siteId, name)) socket.destroy();
  }
}
