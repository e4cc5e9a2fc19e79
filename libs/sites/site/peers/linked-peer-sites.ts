import type { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import type { CallOptions, SiteCommand, StreamOptions } from '../agents/agent-commands.js';
import { SiteSettings } from '../site-settings.js';
import { PeerRefusedError, PeerUnreachableError } from '../sites.errors.js';
import { callFarEnd, type FarEndAddress, type FarEndErrors, streamFromFarEnd } from '../socket/far-end.js';
import { type PeerAddress, PeerSites } from './peer-sites.js';

const ERRORS: FarEndErrors = {
  unreachable: (detail, cause) => new PeerUnreachableError({ detail, cause }),
  refused: (code, message, detail) => new PeerRefusedError(code, message, { detail }),
};

/** The header in which the link is told which site to dial; JSON, base64url. */
export const PEER_HEADER = 'x-mainstay-peer';

/** Peer commands by way of the link process's socket: `/peers/<workload id><the command's path>`. */
@Injectable()
export class LinkedPeerSites extends PeerSites {
  constructor(private readonly settings: SiteSettings) {
    super();
  }

  call<I, O>(address: PeerAddress, command: SiteCommand<I, O>, input: I, options: CallOptions): Promise<O> {
    return callFarEnd(this.address(address, command.path), command, input, options, ERRORS);
  }

  stream(address: PeerAddress, path: string, json: unknown, options: StreamOptions = {}): Promise<Readable> {
    return streamFromFarEnd(this.address(address, path), json, options, ERRORS);
  }

  private address({ peer, workloadId }: PeerAddress, path: string): FarEndAddress {
    return {
      socketPath: this.settings.linkSocket,
      path: `/peers/${workloadId}${path}`,
      headers: { [PEER_HEADER]: Buffer.from(JSON.stringify(peer)).toString('base64url') },
    };
  }
}
