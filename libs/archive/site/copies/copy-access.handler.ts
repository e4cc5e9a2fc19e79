import { Injectable } from '@nestjs/common';
import type { z } from 'zod';
import { type CopyAccess, copyAccessCommand, copyDoneCommand, copyRenewCommand } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { type PeerCaller, type PeerCommandHandler, PeerHandler } from '#libs/sites/site';
import { VaultAddress } from '../vault-address.js';
import { VaultRepositories } from '../vault/vault-repositories.service.js';

type Asked = z.infer<typeof copyAccessCommand.input>;
type Done = z.infer<typeof copyDoneCommand.input>;

/** Long enough for a look and what it brings; the first site asks again for the next. */
const SECONDS = 6 * 3_600;
/** Whoever maintains keeps everybody else's locks out: not for long after the first site has died in the midst of it. */
const MAINTAIN_SECONDS = 3_600;

/** At the site that keeps the copy: lets the first site in, and nobody else. */
@Injectable()
export class CopyAccesses {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly repositories: VaultRepositories,
    private readonly address: VaultAddress,
  ) {}

  /** @throws NotFoundError unless this site keeps that archive for that site; RepositoryBusyError */
  async give(caller: PeerCaller, { archiveId, role }: Asked): Promise<CopyAccess> {
    await this.checkKept(caller, archiveId);
    const seconds = role === 'maintain' ? MAINTAIN_SECONDS : SECONDS;
    const credential = await this.repositories.issue(archiveId, role, new Date(Date.now() + seconds * 1_000));
    if (role === 'maintain') await this.repositories.maintain(archiveId, credential.credentialId, seconds);
    const { credentialId: user, secret } = credential;
    return { ...(await this.address.of(archiveId)), user, secret, seconds };
  }

  /**
   * Lets it go on. @throws NotFoundError unless this site keeps that archive for that site and the access still lasts;
   * RepositoryBusyError
   */
  async renew(caller: PeerCaller, { archiveId, user }: Done): Promise<number> {
    await this.checkKept(caller, archiveId);
    const [own] = await this.work.run((tx) =>
      tx.query<{ role: string }>(
        `SELECT role FROM vault_credential
          WHERE repository_id = $1 AND credential_id::text = $2 AND ends_at > clock_timestamp()`,
        [archiveId, user],
      ),
    );
    if (!own) throw new NotFoundError('credential');
    const seconds = own.role === 'maintain' ? MAINTAIN_SECONDS : SECONDS;
    await this.repositories.prolong(user, seconds);
    if (own.role === 'maintain') await this.repositories.maintain(archiveId, user, seconds);
    return seconds;
  }

  /** @throws NotFoundError unless this site keeps that archive for that site */
  async end(caller: PeerCaller, { archiveId, user }: Done): Promise<void> {
    await this.checkKept(caller, archiveId);
    const [own] = await this.work.run((tx) =>
      tx.query(`SELECT FROM vault_credential WHERE repository_id = $1 AND credential_id::text = $2`, [archiveId, user]),
    );
    if (!own) return;
    await this.repositories.endMaintenance(archiveId, user);
    await this.repositories.end(user);
  }

  private async checkKept(caller: PeerCaller, archiveId: string): Promise<void> {
    const [kept] = await this.work.run((tx) =>
      tx.query(`SELECT FROM archive_kept_copy WHERE archive_id = $1 AND workload_id = $2 AND first->>'siteId' = $3`, [
        archiveId,
        caller.workloadId,
        caller.siteId,
      ]),
    );
    if (!kept) throw new NotFoundError('copy');
  }
}

@PeerHandler(copyAccessCommand)
export class CopyAccessHandler implements PeerCommandHandler<Asked, CopyAccess> {
  constructor(private readonly accesses: CopyAccesses) {}

  answer(caller: PeerCaller, input: Asked): Promise<CopyAccess> {
    return this.accesses.give(caller, input);
  }
}

@PeerHandler(copyDoneCommand)
export class CopyDoneHandler implements PeerCommandHandler<Done, { ok: true }> {
  constructor(private readonly accesses: CopyAccesses) {}

  async answer(caller: PeerCaller, input: Done): Promise<{ ok: true }> {
    await this.accesses.end(caller, input);
    return { ok: true };
  }
}

@PeerHandler(copyRenewCommand)
export class CopyRenewHandler implements PeerCommandHandler<Done, { seconds: number }> {
  constructor(private readonly accesses: CopyAccesses) {}

  async answer(caller: PeerCaller, input: Done): Promise<{ seconds: number }> {
    return { seconds: await this.accesses.renew(caller, input) };
  }
}
