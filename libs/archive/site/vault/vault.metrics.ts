import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { defineCounter, type Metrics } from '#libs/platform/telemetry';

export const vaultRequests = defineCounter(
  'mainstay_vault_requests_total',
  'Requests to the vault by whose they were (outside; the site’s own restic) and how they ended: class of status, or broken-off.',
  ['from', 'status'],
);
export const vaultBytes = defineCounter(
  'mainstay_vault_bytes_total',
  'Bytes that the vault received and sent, requests’ headers among them; counted when a request ends.',
  ['from', 'direction'],
);
export const vaultRefusals = defineCounter(
  'mainstay_vault_refusals_total',
  'Tries to remove or replace what is kept, or to end another’s lock, that the vault refused, by kind.',
  ['kind'],
);

/** Through which door: the one for agents and other sites, or the one of this machine alone. */
export type VaultDoor = 'outside' | 'site';

interface Moved {
  readonly received: number;
  readonly sent: number;
}
const NOTHING: Moved = { received: 0, sent: 0 };

/** Counts what goes through one door. A connection counts its bytes itself, so this costs each request two look-ups. */
export class VaultTraffic {
  private readonly before = new WeakMap<Socket, Moved>();
  private readonly received: Readonly<Record<string, string>>;
  private readonly sent: Readonly<Record<string, string>>;

  constructor(
    private readonly metrics: Metrics,
    readonly from: VaultDoor,
  ) {
    metrics.counts(vaultRequests, vaultBytes);
    this.received = { from, direction: 'received' };
    this.sent = { from, direction: 'sent' };
  }

  /** To be called once for each request, when its answer is closed: sent whole, or cut. */
  ended({ socket }: IncomingMessage, { statusCode, writableFinished }: ServerResponse): void {
    const before = this.before.get(socket) ?? NOTHING;
    const now = { received: socket.bytesRead, sent: socket.bytesWritten };
    this.before.set(socket, now);
    const status = writableFinished ? `${Math.floor(statusCode / 100)}xx` : 'broken-off';
    this.metrics.increment(vaultRequests, { from: this.from, status });
    this.metrics.increment(vaultBytes, this.received, Math.max(0, now.received - before.received));
    this.metrics.increment(vaultBytes, this.sent, Math.max(0, now.sent - before.sent));
  }
}
