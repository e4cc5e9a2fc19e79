import type { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { agentBackup, peerBackup } from '#contracts/replication';
import type { PeerSite } from '#contracts/sites';
import type { BackupTransport } from '#libs/platform/postgres/backup';
import { AgentCommands, PeerSites, type SiteCommand } from '#libs/sites/site';
import type { Standby } from '../standby.row.js';

type BackupCommands = typeof agentBackup | typeof peerBackup;

/** Hashing a long stretch of a file takes its time on an old disk. */
const REQUEST_MS = 120_000;

interface Line {
  call<I, O>(command: SiteCommand<I, O>, input: I, signal?: AbortSignal): Promise<O>;
  stream(path: string, json: unknown, signal?: AbortSignal): Promise<Readable>;
}

/** The two places that a standby is copied from, behind the receiver's one interface. */
@Injectable()
export class BackupTransports {
  constructor(
    private readonly agents: AgentCommands,
    private readonly peers: PeerSites,
  ) {}

  /** From the agency's server, over the bulk lane: commits go over the other one. */
  agency(standby: Standby): BackupTransport {
    const { agentId } = standby;
    return transport(standby, agentBackup, {
      call: (command, input, signal) =>
        this.agents.call(agentId, command, input, {
          timeoutMs: REQUEST_MS,
          lane: 'bulk',
          ...(signal ? { signal } : {}),
        }),
      stream: (path, json, signal) =>
        this.agents.stream(agentId, path, json, { lane: 'bulk', ...(signal ? { signal } : {}) }),
    });
  }

  /** From the other site's standby, so that the data crosses the agency's line once and not twice. */
  peer(standby: Standby, peer: PeerSite): BackupTransport {
    const address = { peer, workloadId: standby.workloadId };
    return transport(standby, peerBackup, {
      call: (command, input, signal) =>
        this.peers.call(address, command, input, { timeoutMs: REQUEST_MS, ...(signal ? { signal } : {}) }),
      stream: (path, json, signal) => this.peers.stream(address, path, json, signal ? { signal } : {}),
    });
  }
}

function transport(standby: Standby, commands: BackupCommands, line: Line): BackupTransport {
  const { workloadId, workloadName } = standby;
  const about = <T>(request: T) => ({ workloadId, workloadName, request });
  return {
    begin: (request, signal) => line.call(commands.begin, about(request), signal),
    manifest: (request, signal) => line.call(commands.manifest, about(request), signal),
    hashes: (request, signal) => line.call(commands.hashes, about(request), signal),
    read: (request, signal) => line.stream(commands.read.path, about(request), signal),
    finish: (request, signal) => line.call(commands.finish, about(request), signal),
    end: async (request, signal) => {
      await line.call(commands.end, about(request), signal);
    },
  };
}

/**
 * A source whose copy must begin where the standby's slot already keeps WAL. A standby's copy begins at its last
 * restart point, which may be older than the slot: then it is too early to copy.
 */
export function beginningAfter(
  source: BackupTransport,
  isEarlyEnough: (startLsn: string) => boolean,
  tooEarly: (startLsn: string) => Error,
): BackupTransport {
  return {
    ...source,
    begin: async (request, signal) => {
      const session = await source.begin(request, signal);
      if (isEarlyEnough(session.startLsn)) return session;
      await source.end({ sessionId: session.sessionId }, signal);
      throw tooEarly(session.startLsn);
    },
  };
}
