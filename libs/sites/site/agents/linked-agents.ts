import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { siteSnapshot } from '#contracts/sites';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { SiteSettings } from '../site-settings.js';
import { askSocket, readJson } from '../socket/socket-request.js';

/** The live links, as the link process has them at `GET /links`; nothing else in the snapshot knows them. */
export const linkStates = siteSnapshot.shape.agents;
export type LinkStates = z.infer<typeof linkStates>;

/** Which agents are connected now. */
@Injectable()
export class LinkedAgents {
  constructor(
    private readonly settings: SiteSettings,
    private readonly logger: AppLogger,
  ) {}

  /** Empty when the link process does not answer: nobody is known to be connected then. */
  async list(): Promise<LinkStates> {
    try {
      const answer = await askSocket({
        socketPath: this.settings.linkSocket,
        method: 'GET',
        path: '/links',
        signal: AbortSignal.timeout(2_000),
      });
      return linkStates.parse(await readJson(answer.body));
    } catch (error) {
      this.logger.log.warn({ reason: errorText(error) }, 'the link process does not answer');
      return [];
    }
  }
}
