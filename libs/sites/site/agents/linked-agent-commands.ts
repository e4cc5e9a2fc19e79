import type { Readable } from 'node:stream';
import { Injectable } from '@nestjs/common';
import { SiteSettings } from '../site-settings.js';
import { AgentRefusedError, AgentUnreachableError } from '../sites.errors.js';
import { callFarEnd, type FarEndAddress, type FarEndErrors, streamFromFarEnd } from '../socket/far-end.js';
import {
  AgentCommands,
  type AgentCallOptions,
  type Lane,
  type SiteCommand,
  type StreamOptions,
} from './agent-commands.js';

const ERRORS: FarEndErrors = {
  unreachable: (detail, cause) => new AgentUnreachableError({ detail, cause }),
  refused: (code, message, detail) => new AgentRefusedError(code, message, { detail }),
};

/** Agent commands by way of the link process's socket: `/agents/<id>/<lane><the command's path>`. */
@Injectable()
export class LinkedAgentCommands extends AgentCommands {
  constructor(private readonly settings: SiteSettings) {
    super();
  }

  call<I, O>(agentId: string, command: SiteCommand<I, O>, input: I, options: AgentCallOptions): Promise<O> {
    return callFarEnd(this.address(agentId, command.path, options.lane), command, input, options, ERRORS);
  }

  stream(agentId: string, path: string, json: unknown, options: StreamOptions = {}): Promise<Readable> {
    return streamFromFarEnd(this.address(agentId, path, options.lane), json, options, ERRORS);
  }

  private address(agentId: string, path: string, lane: Lane = 'bulk'): FarEndAddress {
    return { socketPath: this.settings.linkSocket, path: `/agents/${agentId}/${lane}${path}` };
  }
}
