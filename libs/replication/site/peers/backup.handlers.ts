import { Readable } from 'node:stream';
import type { z } from 'zod';
import { peerBackup } from '#contracts/replication';
import { type PeerCaller, type PeerCommandHandler, PeerHandler } from '#libs/sites/site';
import { PeerBackups } from './peer-backups.js';

type Input<C extends { readonly input: z.ZodType }> = z.infer<C['input']>;
type Output<C extends { readonly output: z.ZodType }> = z.infer<C['output']>;
type Handler<C extends { readonly input: z.ZodType; readonly output: z.ZodType }> = PeerCommandHandler<
  Input<C>,
  Output<C>
>;

// One class for each command, since each is a contract of its own; what they do is the source's (libs/platform/postgres/backup).

@PeerHandler(peerBackup.begin)
export class BeginPeerBackup implements Handler<typeof peerBackup.begin> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.begin>, signal: AbortSignal) {
    return (await this.backups.of(caller.workloadId)).begin(request, signal);
  }
}

@PeerHandler(peerBackup.manifest)
export class ListPeerBackup implements Handler<typeof peerBackup.manifest> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.manifest>, signal: AbortSignal) {
    return (await this.backups.of(caller.workloadId)).manifest(request, signal);
  }
}

@PeerHandler(peerBackup.hashes)
export class HashPeerBackup implements Handler<typeof peerBackup.hashes> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.hashes>, signal: AbortSignal) {
    return (await this.backups.of(caller.workloadId)).hashes(request, signal);
  }
}

@PeerHandler(peerBackup.read)
export class ReadPeerBackup implements Handler<typeof peerBackup.read> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.read>, signal: AbortSignal): Promise<Readable> {
    return Readable.from(await (await this.backups.of(caller.workloadId)).read(request, signal), { objectMode: false });
  }
}

@PeerHandler(peerBackup.finish)
export class FinishPeerBackup implements Handler<typeof peerBackup.finish> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.finish>, signal: AbortSignal) {
    return (await this.backups.of(caller.workloadId)).finish(request, signal);
  }
}

@PeerHandler(peerBackup.end)
export class EndPeerBackup implements Handler<typeof peerBackup.end> {
  constructor(private readonly backups: PeerBackups) {}
  async answer(caller: PeerCaller, { request }: Input<typeof peerBackup.end>, signal: AbortSignal) {
    await (await this.backups.of(caller.workloadId)).end(request, signal);
    return { ok: true as const };
  }
}
