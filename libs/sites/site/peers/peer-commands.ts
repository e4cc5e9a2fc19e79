import type http from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { DiscoveryService } from '@nestjs/core';
import { z } from 'zod';
import { uuid } from '#contracts/sites';
import { DomainError, NotFoundError } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SiteSettings } from '../site-settings.js';
import { readJson } from '../socket/socket-request.js';
import { SocketServer } from '../socket/socket-server.js';
import { PEER_HANDLER, type PeerCommand, type PeerCommandHandler } from './peer-sites.js';

/** Set by the link, which has checked the peer's key: who asks, and about which workload. */
export const PEER_CALLER_HEADER = 'x-mainstay-peer-caller';
const callerHeader = z.strictObject({ siteId: uuid, workloadId: uuid });

class PeerCommandMalformedError extends DomainError {
  constructor(detail: string) {
    super('invalid', 'peer-command.malformed', 'This site does not understand this command. Update both sites.', {
      detail,
    });
  }
}

class ForeignWorkloadError extends DomainError {
  constructor() {
    super('forbidden', 'peer-command.other-workload', 'This connection is for another workload.');
  }
}

interface RegisteredPeerHandler {
  readonly command: PeerCommand<unknown, unknown>;
  readonly handler: PeerCommandHandler<unknown, unknown>;
}

/** The site process's socket: answers the commands of peer sites that the link has let in. */
@Injectable()
export class PeerCommandServer implements OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown {
  private readonly handlers = new Map<string, RegisteredPeerHandler>();
  private readonly server: SocketServer;

  constructor(
    settings: SiteSettings,
    private readonly discovery: DiscoveryService,
    logger: AppLogger,
  ) {
    this.server = new SocketServer(
      settings.siteSocket,
      (request, response) => this.answer(request, response),
      (error, request) => {
        if (error instanceof DomainError) logger.log.info({ code: error.code, path: request.url }, 'a peer is refused');
        else logger.log.warn({ err: error, path: request.url }, 'a peer command failed');
      },
    );
  }

  onModuleInit(): void {
    for (const wrapper of this.discovery.getProviders()) {
      const metatype: unknown = wrapper.metatype;
      if (typeof metatype !== 'function') continue;
      const command = Reflect.getMetadata(PEER_HANDLER, metatype) as PeerCommand<unknown, unknown> | undefined;
      if (!command) continue;
      if (this.handlers.has(command.path)) throw new Error(`two handlers for peer command ${command.path}`);
      this.handlers.set(command.path, {
        command,
        handler: wrapper.instance as PeerCommandHandler<unknown, unknown>,
      });
    }
  }

  async onApplicationBootstrap(): Promise<void> {
    await this.server.listen();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.server.close();
  }

  private async answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const registered = this.handlers.get(request.url ?? '');
    if (!registered || request.method !== 'POST') throw new NotFoundError('peer command');
    const caller = callerHeader.parse(JSON.parse(String(request.headers[PEER_CALLER_HEADER] ?? 'null')));
    const parsed = registered.command.input.safeParse(await readJson(request));
    if (!parsed.success) throw new PeerCommandMalformedError(parsed.error.message);
    // Each peer connection is for one workload: a command about another is refused before any handler sees it.
    const about = z.object({ workloadId: uuid }).safeParse(parsed.data);
    if (about.success && about.data.workloadId !== caller.workloadId) throw new ForeignWorkloadError();
    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('the peer went away')));
    const answer = await registered.handler.answer(caller, parsed.data, gone.signal);
    if (answer instanceof Readable) {
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      await pipeline(answer, response);
      return;
    }
    const body = JSON.stringify(registered.command.output.parse(answer) ?? null);
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(body);
  }
}
