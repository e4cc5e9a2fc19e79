import { randomUUID } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { Inject, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { pause } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import { AppLogger } from '#libs/platform/nest';
import { chownTo, keptDirectory, numberedIdentity, type ServerIdentity } from '#libs/platform/postgres';
import { ARCHIVE_SETTINGS, type ArchiveSettings, VAULT_AUTHORITY } from '../archive-settings.js';
import { ArchiveKeys, type ArchiveKeyRow } from '../keys/archive-keys.js';
import { VaultService } from '../vault/vault.module.js';
import { type IssuedCredential, VaultRepositories } from '../vault/vault-repositories.service.js';
import type { VaultRole } from '../vault/vault-rules.js';
import { ResticProgram } from './restic-program.js';
import { type ResticOutcome, runRestic } from './restic-process.js';

/**
 * As whom restic runs where this process is root: a number that nobody has, next to those of the workloads' servers. What
 * an agency archived is parsed by it, and what is restored is its.
 */
export const RESTIC_UID = 60_705;
/** How long a credential and a maintenance lease outlive a process that died with them. */
const LEASE_SECONDS = 600;

export interface ResticWork {
  readonly role: VaultRole;
  /** For the agency's record of who opened its key: `proving a recovery point`. */
  readonly purpose: string;
  readonly signal: AbortSignal;
  /** Called with each line of JSON on its standard output; to be parsed by the caller. */
  readonly onLine?: (json: unknown) => void;
  /** Takes its standard output as it is; ended with it. */
  readonly stdoutTo?: Writable;
  /** A folder that the program's user may enter; an empty one of this work's own when left out. */
  readonly cwd?: string;
  /** {@link RESTIC_UID} when left out; only root can switch. */
  readonly uid?: number;
  /** Secrets that it reads from files, laid into its own folder as `<name>`: for `--new-password-file` and the like. */
  readonly files?: Readonly<Record<string, string>>;
  readonly environment?: Readonly<Record<string, string>>;
  /** Another key than the newest of the site's that the repository has. */
  readonly key?: ArchiveKeyRow;
}

/**
 * restic at the site, against its own vault: as whoever asks over the network, with a credential of the role that is needed
 * and for as long as it runs, so that retention, holds and leases hold for the provider too. For `maintain` it has the
 * maintenance lease meanwhile.
 */
@Injectable()
export class SiteRestic implements OnApplicationBootstrap {
  private readonly program: ResticProgram;
  private readonly scratch: string;

  constructor(
    @Inject(ARCHIVE_SETTINGS) private readonly settings: ArchiveSettings,
    @Inject(VAULT_AUTHORITY) private readonly authority: string,
    private readonly keys: ArchiveKeys,
    private readonly repositories: VaultRepositories,
    private readonly vault: VaultService,
    private readonly logger: AppLogger,
  ) {
    this.program = new ResticProgram(
      settings.restic,
      this.identity() ? path.join(settings.directory, 'programs') : null,
    );
    this.scratch = path.join(settings.directory, 'scratch');
  }

  /** What a killed process left: passwords among them. */
  async onApplicationBootstrap(): Promise<void> {
    // A restic that outlives a killed process by a moment may still write there.
    await rm(this.scratch, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }

  /**
   * Runs restic to its end. The repository, the password and the authority are given; `--json` and `--no-lock` are the
   * caller's to say.
   *
   * @throws ResticFailedError with its exit code and words; CustomerHeldError; KeyUnavailableError; RepositoryBusyError when
   * somebody else has the maintenance lease
   */
  async run(archiveId: string, args: readonly string[], work: ResticWork): Promise<ResticOutcome> {
    const program = await this.program.path();
    const key = work.key ?? (await this.keys.newest(archiveId, 'site', work.purpose));
    const password = await this.keys.openKey(key, work.purpose);
    const ends = new Date(Date.now() + LEASE_SECONDS * 1_000);
    const credential = await this.repositories.issue(archiveId, work.role, ends);
    const over = new AbortController();
    try {
      if (work.role === 'maintain') {
        await this.repositories.maintain(archiveId, credential.credentialId, LEASE_SECONDS);
      }
      const renewing = this.renew(archiveId, credential, work.role, over.signal);
      try {
        return await this.inFolder(archiveId, work, { password, hint: key.resticKey }, credential, (place) =>
          runRestic(program, args, { ...work, ...place, secrets: [password, credential.secret] }),
        );
      } finally {
        over.abort();
        await renewing;
      }
    } finally {
      if (work.role === 'maintain') await this.repositories.endMaintenance(archiveId, credential.credentialId);
      await this.repositories.end(credential.credentialId);
    }
  }

  /** The standard output as it comes. A failure of restic's ends it with an error, never silently. */
  stream(archiveId: string, args: readonly string[], work: Omit<ResticWork, 'stdoutTo' | 'onLine'>): Readable {
    const out = new PassThrough({ highWaterMark: 256 * 1024 });
    const gone = new AbortController();
    out.once('close', () => gone.abort(new Error('nobody reads on')));
    const signal = AbortSignal.any([work.signal, gone.signal]);
    this.run(archiveId, args, { ...work, signal, stdoutTo: out }).then(
      () => out.end(),
      (error: unknown) => out.destroy(error instanceof Error ? error : new Error(errorText(error))),
    );
    return out;
  }

  /** The user as whom it runs, whose what it restores is; undefined where this process cannot switch. */
  identity(uid = RESTIC_UID): ServerIdentity | undefined {
    return process.getuid?.() === 0 ? numberedIdentity(uid) : undefined;
  }

  /** Of an archive that has ended. Safe to repeat. */
  async forgetCache(archiveId: string): Promise<void> {
    await rm(path.join(this.settings.directory, 'cache', archiveId), { recursive: true, force: true });
  }

  private async inFolder<T>(
    archiveId: string,
    work: ResticWork,
    { password, hint }: { readonly password: string; readonly hint: string | null },
    credential: IssuedCredential,
    act: (place: ResticPlace) => Promise<T>,
  ): Promise<T> {
    const identity = this.identity(work.uid);
    const folder = path.join(this.scratch, randomUUID());
    const cache = path.join(this.settings.directory, 'cache', archiveId);
    const own = async (file: string) => identity && (await chownTo(file, identity));
    // Both parents may be passed through by number, and looked into by nobody.
    for (const parent of [this.settings.directory, this.scratch, path.dirname(cache)]) await keptDirectory(parent);
    try {
      for (const each of [folder, cache]) {
        await mkdir(each, { recursive: true, mode: 0o700 });
        await own(each);
      }
      for (const [name, text] of Object.entries({
        password,
        'authority.pem': this.authority,
        ...work.files,
      })) {
        const file = path.join(folder, name);
        await writeFile(file, text, { mode: 0o600, flag: 'wx' });
        await own(file);
      }
      return await act({
        identity,
        cwd: work.cwd ?? folder,
        environment: {
          HOME: folder,
          TMPDIR: folder,
          RESTIC_REPOSITORY: `rest:https://127.0.0.1:${await this.vault.localPort}/${archiveId}/`,
          RESTIC_REST_USERNAME: credential.credentialId,
          RESTIC_REST_PASSWORD: credential.secret,
          RESTIC_PASSWORD_FILE: path.join(folder, 'password'),
          // It tries this key first. Left alone it gives up at a key that is none, and after twenty: whoever may add objects
          // could lock everybody out.
          ...(hint === null ? {} : { RESTIC_KEY_HINT: hint }),
          RESTIC_CACERT: path.join(folder, 'authority.pem'),
          RESTIC_CACHE_DIR: cache,
          ...work.environment,
        },
      });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  private async renew(
    archiveId: string,
    { credentialId }: IssuedCredential,
    role: VaultRole,
    over: AbortSignal,
  ): Promise<void> {
    for (;;) {
      await pause((LEASE_SECONDS * 1_000) / 4, over);
      if (over.aborted) return;
      try {
        await this.repositories.prolong(credentialId, LEASE_SECONDS);
        if (role === 'maintain') await this.repositories.maintain(archiveId, credentialId, LEASE_SECONDS);
      } catch (error) {
        // restic itself is refused when it has run out.
        this.logger.log.warn({ archiveId, reason: errorText(error) }, 'a lease on the vault could not be renewed');
      }
    }
  }
}

interface ResticPlace {
  readonly identity: ServerIdentity | undefined;
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
}
