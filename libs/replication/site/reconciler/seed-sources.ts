import { Injectable } from '@nestjs/common';
import { Clock } from '#libs/platform/clock';
import { DomainError, errorText } from '#libs/platform/errors';
import { lsnDifference } from '#libs/platform/postgres';
import type { BackupTransport } from '#libs/platform/postgres/backup';
import { PeerUnreachableError } from '#libs/sites/site';
import { BackupTransports, beginningAfter } from './backup-transports.js';
import { SourceServer } from './source-server.js';
import type { Standby } from '../standby.row.js';

export interface SeedSource {
  readonly from: 'agency' | 'peer';
  readonly transport: BackupTransport;
}

/** How long a regional site waits for the metro's standby to serve before it copies over the agency's line itself. */
export class SeedPatience {
  readonly milliseconds: number = 10 * 60_000;
}

class CopyTooOldError extends DomainError {
  constructor(startLsn: string) {
    super(
      'unavailable',
      'seed.copy-too-old',
      "The other site's copy begins before this site's slot. It is asked again after its next checkpoint.",
      { detail: startLsn },
    );
  }
}

/** No fault yet: the metro's standby is being made, or its site is restarting. */
class WaitsForPeerError extends DomainError {
  constructor(cause: unknown) {
    super(
      'unavailable',
      'seed.waits-for-metro',
      "This site copies from the metro site's standby, and waits until that serves.",
      { cause, detail: errorText(cause), facts: { retryAfterSeconds: 3 } },
    );
  }
}

/**
 * Where a standby is copied from: the metro's from the agency, the regional's from the metro's standby, so that the
 * agency's uplink carries the data once.
 */
@Injectable()
export class SeedSources {
  constructor(
    private readonly transports: BackupTransports,
    private readonly source: SourceServer,
    private readonly clock: Clock,
    private readonly patience: SeedPatience,
  ) {}

  async choose(standby: Standby, signal: AbortSignal): Promise<SeedSource> {
    const { peer, follow, role } = standby;
    if (peer && follow === 'peer') return { from: 'peer', transport: this.transports.peer(standby, peer) };
    const agency: SeedSource = { from: 'agency', transport: this.transports.agency(standby) };
    if (!peer || role === 'metro') return agency;
    if (standby.seeding?.from === 'agency' && standby.seeding.bytesTransferred > 0) return agency;
    const transport = this.afterSlot(standby, this.transports.peer(standby, peer));
    if (await this.serves(standby, transport, signal)) return { from: 'peer', transport };
    return agency;
  }

  /** A standby's copy may begin before the agency's slot for this one: then the agency makes a checkpoint first. */
  private afterSlot(standby: Standby, transport: BackupTransport): BackupTransport {
    const { slotRestartLsn } = standby;
    if (slotRestartLsn === null) return transport;
    return beginningAfter(
      transport,
      (startLsn) => lsnDifference(startLsn, slotRestartLsn) >= 0n,
      (startLsn) => new CopyTooOldError(startLsn),
    );
  }

  /** @throws the peer's error while there is patience left */
  private async serves(standby: Standby, transport: BackupTransport, signal: AbortSignal): Promise<boolean> {
    const waited = this.clock.now().getTime() - (standby.seedingSince ?? this.clock.now()).getTime();
    try {
      const session = await transport.begin({ label: `probe-${standby.workloadId}`, sessionId: null }, signal);
      await transport.end({ sessionId: session.sessionId }, signal);
      return true;
    } catch (error) {
      signal.throwIfAborted();
      if (!isPeersFault(error)) throw error;
      if (waited > this.patience.milliseconds) return false;
      if (error instanceof CopyTooOldError) await this.source.checkpoint(standby, signal);
      throw new WaitsForPeerError(error);
    }
  }
}

const isPeersFault = (error: unknown): boolean =>
  error instanceof PeerUnreachableError || (error instanceof DomainError && /^(standby|peer|seed)/.test(error.code));
