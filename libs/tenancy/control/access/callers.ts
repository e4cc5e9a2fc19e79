import { Injectable } from '@nestjs/common';
import { UnitOfWork } from '#libs/platform/database';
import { ApiKeys, looksLikeApiKey } from './api-keys.js';
import type { TenantCaller } from './caller.js';
import { MemberSessions } from '../members/member-sessions.js';

/** Who stands behind a credential now. `sessionToken` is the session's own, for a member. */
export interface Identified {
  readonly caller: TenantCaller;
  readonly sessionToken?: string;
}

/** Finds the member or API key behind a credential: the one look-up, for guards and for what lasts. */
@Injectable()
export class Callers {
  constructor(
    private readonly work: UnitOfWork,
    private readonly sessions: MemberSessions,
    private readonly keys: ApiKeys,
  ) {}

  /** Undefined for what is unknown, ended, expired, revoked, or of a suspended agency. */
  async identify(credential: string): Promise<Identified | undefined> {
    if (looksLikeApiKey(credential)) {
      const caller = await this.work.lookUp((tx) => this.keys.caller(tx, credential));
      return caller && { caller };
    }
    // Most of what is no session of ours is known by its signature, without asking the database.
    if (!this.sessions.isOurs(credential)) return undefined;
    const session = await this.work.lookUp((tx) => this.sessions.caller(tx, credential));
    return session && { caller: session.caller, sessionToken: session.token };
  }
}
