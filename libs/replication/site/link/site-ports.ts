import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { Injectable } from '@nestjs/common';
import type { SiteTransaction } from '#libs/platform/database';
import { DomainError } from '#libs/platform/errors';
import { SiteSettings } from '#libs/sites/site/gateway';

/** Tries before it gives up; with a sane range the first or second is free. */
const TRIES = 200;

class NoPortLeftError extends DomainError {
  constructor(first: number, last: number) {
    super('unavailable', 'site.no-port-left', `This site has no free port left between ${first} and ${last}.`);
  }
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

/**
 * Finds ports for forwarders and front doors. They lie in the site's own range, below the system's ephemeral ports: a
 * port that is kept for years must not be taken by some outgoing connection while the link restarts.
 */
@Injectable()
export class SitePorts {
  constructor(private readonly settings: SiteSettings) {}

  /** A port that no row has and that `host` can listen on now. The row's unique index decides between two callers. */
  async find(tx: SiteTransaction, host: string): Promise<number> {
    const { first, last } = this.settings.ports;
    const rows = await tx.query<{ port: number }>(
      `SELECT port FROM front_door UNION SELECT forward_port FROM standby WHERE forward_port IS NOT NULL
       UNION SELECT standby_port FROM standby WHERE standby_port IS NOT NULL`,
    );
    const taken = new Set(rows.map((row) => row.port));
    for (let attempt = 0; attempt < TRIES; attempt += 1) {
      const port = randomInt(first, last + 1);
      if (!taken.has(port) && (await canListen(host, port))) return port;
    }
    throw new NoPortLeftError(first, last);
  }
}
