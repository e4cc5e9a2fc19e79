import type { Readable } from 'node:stream';
import { SetMetadata, Injectable } from '@nestjs/common';
import type { z } from 'zod';
import type { PeerSite } from '#contracts/sites';
import type { CallOptions, SiteCommand, StreamOptions } from '../agents/agent-commands.js';

/** The workload that a conversation between two sites is about: each connection is for one. */
export interface PeerAddress {
  readonly peer: PeerSite;
  readonly workloadId: string;
}

/** Commands to the other site of a pair, through the link process. */
export abstract class PeerSites {
  /**
   * @throws PeerUnreachableError when the other site is not there or does not answer in time
   * @throws PeerRefusedError with the other site's own code and text
   */
  abstract call<I, O>(address: PeerAddress, command: SiteCommand<I, O>, input: I, options: CallOptions): Promise<O>;

  /** Posts `json` and answers the other site's bytes as they come. A cut stream ends with an error, never silently. */
  abstract stream(address: PeerAddress, path: string, json: unknown, options?: StreamOptions): Promise<Readable>;
}

/** Who asks: a site that a row of ours names as the peer of this workload, proved by its key. */
export interface PeerCaller {
  readonly siteId: string;
  readonly workloadId: string;
}

/**
 * Answers one command of peer sites. An answer that is a Readable is sent as bytes, whatever else as JSON after
 * `command.output` has checked it. A DomainError reaches the caller as PeerRefusedError with its code and text.
 */
export interface PeerCommandHandler<I, O> {
  answer(caller: PeerCaller, input: I, signal: AbortSignal): Promise<O | Readable>;
}

export interface PeerCommand<I, O> {
  readonly path: string;
  readonly input: z.ZodType<I>;
  readonly output: z.ZodType<O>;
}

export const PEER_HANDLER = Symbol('mainstay peer command');

/** Marks an injectable class as the one handler of a peer command. The input must be about the caller's workload. */
export function PeerHandler<I, O>(
  command: PeerCommand<I, O>,
): <C extends new (...dependencies: never[]) => PeerCommandHandler<I, O>>(target: C) => void {
  return (target) => {
    SetMetadata(PEER_HANDLER, command)(target);
    Injectable()(target);
  };
}
