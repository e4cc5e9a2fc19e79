import { Injectable } from '@nestjs/common';
import { z } from 'zod';
import { SiteUnitOfWork } from '#libs/platform/database';
import { AppLogger } from '#libs/platform/nest';
import { RESTIC, ResticFailedError } from '../restic/restic.errors.js';
import { Damages } from '../checks/damages.service.js';
import { SiteRestic } from '../restic/site-restic.js';
import { VaultService } from '../vault/vault.module.js';
import { derivedId } from '../work-ids.js';
import { ArchiveKeys, type ArchiveKeyRow, type KeyHolder } from './archive-keys.js';
import { KeyUnavailableError } from './key-encryption.js';

const keyList = z.array(z.object({ id: z.string(), current: z.boolean(), hostName: z.string() }));
type ListedKey = z.infer<typeof keyList>[number];

/** restic notes host and user with each key: by the host we find the row of one that a crash came after. */
const USER = 'mainstay';
/** What restic says of a key that it has added, 0.17 to 0.19. */
const ADDED = /^saved new key with ID ([0-9a-f]{64})$/;
const HOLDERS: readonly KeyHolder[] = ['site', 'agent'];

/**
 * The keys of escrowed repositories: the site's, with which it makes the repository and which never leaves it, and the
 * agent's. A row is there, sealed, before the repository has the key; so whatever dies, nothing is locked out.
 */
@Injectable()
export class RepositoryKeys {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly keys: ArchiveKeys,
    private readonly restic: SiteRestic,
    private readonly vault: VaultService,
    private readonly damages: Damages,
    private readonly logger: AppLogger,
  ) {}

  /** Makes the repository and both keys, as far as they are not there. @throws ResticFailedError, KeyUnavailableError */
  async ensure(archiveId: string, signal: AbortSignal): Promise<void> {
    for (const holder of HOLDERS) {
      const known = await this.present(archiveId);
      if (known.some((key) => key.holder === holder && key.resticKey !== null)) continue;
      const pending = known.find((key) => key.holder === holder);
      const keyId = pending?.keyId ?? derivedId(archiveId, 'first', holder);
      const fresh = !pending && (await this.keys.make(archiveId, keyId, holder));
      const row = await this.row(archiveId, keyId);
      if (holder === 'site') await this.initialise(row, signal);
      else await this.add(row, fresh, signal);
    }
  }

  /**
   * New passwords for site and agent; every other key of the repository is removed, also one that somebody else has added.
   * The repository must be the caller's meanwhile. Repeated with the same id, it goes on where it was.
   *
   * @throws ResticFailedError, KeyUnavailableError
   */
  async rotate(archiveId: string, rotationId: string, signal: AbortSignal): Promise<void> {
    const added: ArchiveKeyRow[] = [];
    for (const holder of HOLDERS) {
      const keyId = derivedId(rotationId, holder);
      const fresh = await this.keys.make(archiveId, keyId, holder);
      const row = await this.row(archiveId, keyId);
      if (row.resticKey === null) await this.add(row, fresh, signal);
      added.push(await this.row(archiveId, keyId));
    }
    // Each new password opens the repository, before any other ceases to.
    for (const key of added) {
      const purpose = 'trying a new password';
      await this.restic.run(archiveId, ['cat', 'config', '--no-lock'], { role: 'read', purpose, signal, key });
    }
    const stay = new Set(added.map(({ resticKey }) => resticKey));
    await this.removeOthers(archiveId, (id) => stay.has(id));
    await this.work.run(async (tx) => {
      for (const key of await this.keys.of(tx, archiveId)) {
        if (!added.some(({ keyId }) => keyId === key.keyId)) await this.keys.retire(tx, key);
      }
    });
  }

  /**
   * Removes every key but those that stay, of whatever age. The repository must be the caller's meanwhile. Safe to repeat.
   *
   * @param asideAt lays them aside, so that people can bring them back for some days
   */
  async removeOthers(archiveId: string, stays: (id: string) => boolean, asideAt?: Date): Promise<void> {
    for (const id of await this.inVault(archiveId)) {
      if (stays(id)) continue;
      await this.work.run((tx) => this.keys.noteRemoved(tx, archiveId, id));
      await this.damages.whileRemoving(archiveId, () => this.vault.objects.removeKey(archiveId, id, asideAt));
      this.logger.log.info({ archiveId, key: id.slice(0, 8) }, 'a key was removed from a repository');
    }
  }

  /** As the vault has them: restic does not list what it cannot read. */
  async inVault(archiveId: string): Promise<string[]> {
    const present: string[] = [];
    for await (const { id } of this.vault.objects.list(archiveId, 'keys')) present.push(id);
    return present;
  }

  private async initialise(key: ArchiveKeyRow, signal: AbortSignal): Promise<void> {
    const { archiveId } = key;
    const ways = { role: 'append', purpose: 'making the repository', signal, key } as const;
    try {
      await this.restic.run(archiveId, ['cat', 'config', '--no-lock'], ways);
    } catch (error) {
      if (!(error instanceof ResticFailedError) || error.exitCode !== RESTIC.noRepository) throw error;
      // restic makes the key first: one that was killed in between would be in its own way.
      await this.vault.objects.discardUnmade(archiveId);
      await this.restic.run(archiveId, ['init'], ways);
    }
    const current = (await this.list(archiveId, signal, key)).find((listed) => listed.current);
    if (!current) throw new KeyUnavailableError(`restic names no key of ${archiveId} as the one it used`);
    await this.work.run((tx) => this.keys.added(tx, key, current.id));
  }

  /** @param fresh nobody has tried before: it need not be looked for */
  private async add(key: ArchiveKeyRow, fresh: boolean, signal: AbortSignal): Promise<void> {
    const { archiveId, keyId } = key;
    const look = async () => (await this.list(archiveId, signal)).find(({ hostName }) => hostName === keyId)?.id;
    let there = fresh ? undefined : await look();
    if (there === undefined) {
      const files = { 'new-password': await this.keys.openKey(key, 'adding it to the repository') };
      const args = ['key', 'add', '--new-password-file', 'new-password', '--user', USER, '--host', keyId];
      const ways = { role: 'append', purpose: 'adding a key', signal, files } as const;
      const { messages } = await this.restic.run(archiveId, args, ways);
      there = messages.map((line) => ADDED.exec(line)?.[1]).find((id) => id !== undefined) ?? (await look());
    }
    if (there === undefined) {
      throw new KeyUnavailableError(`the key ${keyId} was added to ${archiveId}, and is not there`);
    }
    const id = there;
    await this.work.run((tx) => this.keys.added(tx, key, id));
  }

  private async list(archiveId: string, signal: AbortSignal, key?: ArchiveKeyRow): Promise<ListedKey[]> {
    let listed: ListedKey[] = [];
    await this.restic.run(archiveId, ['key', 'list', '--json', '--no-lock'], {
      role: 'read',
      purpose: 'listing the keys',
      signal,
      onLine: (json) => (listed = keyList.parse(json)),
      ...(key ? { key } : {}),
    });
    return listed;
  }

  private present(archiveId: string): Promise<ArchiveKeyRow[]> {
    return this.work.run((tx) => this.keys.of(tx, archiveId));
  }

  private async row(archiveId: string, keyId: string): Promise<ArchiveKeyRow> {
    const row = (await this.present(archiveId)).find((key) => key.keyId === keyId);
    if (!row) throw new KeyUnavailableError(`the key ${keyId} of ${archiveId} was retired`);
    return row;
  }
}
