import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { keyId, type RepositoryAccess } from '#contracts/archive';
import { z } from 'zod';
import { ArchiveWorkError } from '../errors.js';
import type { CustomerKey } from '../customer-key.js';
import { ResticFailedError, resticFailure } from './failures.js';
import { can, type ResticProgram } from './program.js';
import { runRestic, type ResticCall, type ResticEnd } from './run-restic.js';

/** A repository that is in use stays so for minutes, not hours: the vault's own maintenance lets others in afterwards. */
const RETRY_LOCK = '10m';
const UNLOCK_MS = 10_000;
const AUTHORITY = 'authority.pem';
const KEY_HINT = 'key-hint';
const listedKey = z.object({ id: keyId, current: z.boolean(), hostName: z.string() });
type ListedKey = z.infer<typeof listedKey>;

export interface RepositoryParts {
  readonly restic: ResticProgram;
  readonly access: RepositoryAccess;
  /** Of this work alone, and removed when it ends: the secrets' files lie in it. */
  readonly directory: string;
  readonly cacheDirectory: string;
  readonly key: CustomerKey;
  readonly signal: AbortSignal;
}

export type RepositoryCall = Pick<ResticCall, 'env' | 'stdin' | 'onStarted' | 'onMessage' | 'onWords'> & {
  /** Ends this call alone, not the work. */
  readonly alsoUntil?: AbortSignal;
  /** Reads only: no lock, since a credential to read may be all that there is. */
  readonly unlocked?: boolean;
  /** By another password: a file that {@link Repository.writePassword} wrote, and its key. */
  readonly by?: { readonly file: string; readonly key: string };
};

/** A repository of the vault as one work sees it. Its secrets stand in files of mode 0600, never in arguments. */
export class Repository {
  private readonly secrets: Set<string>;

  private constructor(private readonly parts: RepositoryParts) {
    const { secret } = parts.access;
    this.secrets = new Set([secret, encodeURIComponent(secret)]);
  }

  get restic(): ResticProgram {
    return this.parts.restic;
  }

  get signal(): AbortSignal {
    return this.parts.signal;
  }

  /** The work's own folder, for lists that are too long to be arguments. */
  get directory(): string {
    return this.parts.directory;
  }

  /**
   * @param create for a backup: makes a customer-held repository that is not there, and its password before that
   * @throws ArchiveWorkError when the address is not encrypted, the password is not known here, or the key mode is another
   */
  static async open(parts: RepositoryParts, { create }: { create: boolean }): Promise<Repository> {
    const { access, cacheDirectory, key } = parts;
    if (new URL(access.url).protocol !== 'https:') {
      throw new ArchiveWorkError('vault-unencrypted', 'The agent speaks to a vault over HTTPS only.');
    }
    const entry = await key.choose(access);
    await mkdir(cacheDirectory, { recursive: true, mode: 0o700 });
    const repository = new Repository(parts);
    await repository.write('repository', resticAddress(access));
    if (access.authority !== null) await repository.write(AUTHORITY, access.authority);
    // Any will do to find out whether there is a repository at all.
    await repository.writePassword('password', entry?.password ?? randomBytes(16).toString('hex'));
    if (entry?.hint !== undefined) await repository.write(KEY_HINT, entry.hint);
    const certain = access.password !== null || (entry !== undefined && !create);
    if (!certain) await repository.enterOwn(entry !== undefined, create);
    if (access.password === null && entry?.knows === undefined) await repository.learnKey();
    return repository;
  }

  /** Runs restic on this repository. The end may be no success: see {@link resticFailure}. */
  async call(args: readonly string[], call: RepositoryCall = {}): Promise<ResticEnd> {
    const { restic, directory, cacheDirectory, signal } = this.parts;
    const { unlocked, alsoUntil, by, ...rest } = call;
    const locking = unlocked ? ['--no-lock'] : can(restic, 'retry-lock') ? [`--retry-lock=${RETRY_LOCK}`] : [];
    const until = alsoUntil ? AbortSignal.any([signal, alsoUntil]) : signal;
    const end = await runRestic(restic, {
      ...rest,
      directory,
      signal: until,
      args: [...entering(directory, cacheDirectory, by), ...locking, ...args],
    });
    if (until.aborted && !unlocked) await takeLocksBack(restic, directory, cacheDirectory);
    return { code: end.code, words: end.words.map((line) => this.withoutSecrets(line)) };
  }

  /** @throws ResticFailedError */
  async require(args: readonly string[], call?: RepositoryCall): Promise<void> {
    const end = await this.call(args, call);
    this.signal.throwIfAborted();
    if (end.code !== 0) throw resticFailure(end);
  }

  /** For texts that leave this machine. */
  withoutSecrets(text: string): string {
    const secrets = [...this.secrets].filter((each) => each !== '');
    return secrets.reduce((clean, each) => clean.replaceAll(each, '***'), text);
  }

  async write(name: string, text: string): Promise<string> {
    const file = path.join(this.directory, name);
    await writeFile(file, text, { mode: 0o600 });
    return file;
  }

  /** A file for restic to read a password from, which no text of this work shows from then on. */
  async writePassword(name: string, password: string): Promise<string> {
    this.secrets.add(password);
    return this.write(name, password);
  }

  /** Those that restic can read; none when it cannot open the repository. */
  async keys(): Promise<ListedKey[]> {
    const found: ListedKey[] = [];
    await this.call(['key', 'list'], {
      unlocked: true,
      onMessage: (message) => found.push(...(z.array(listedKey).safeParse(message).data ?? [])),
    });
    return found;
  }

  /** Which key the agency's own password opens. Left for another time where it cannot be found out. */
  private async learnKey(): Promise<void> {
    // The one that this work entered by: what the agent holds may be another one by the time that restic has answered.
    const password = await readFile(path.join(this.directory, 'password'), 'utf8');
    const own = (await this.keys()).find(({ current }) => current)?.id;
    this.signal.throwIfAborted();
    if (own === undefined) return;
    await this.parts.key.learn(password, own);
    await this.write(KEY_HINT, own);
  }

  private async enterOwn(known: boolean, create: boolean): Promise<void> {
    const found = await this.require(['cat', 'config'], { unlocked: true }).then(
      () => 'open' as const,
      (error: unknown) => {
        if (error instanceof ResticFailedError && error.failure === 'repository-absent') return 'absent' as const;
        if (error instanceof ResticFailedError && error.failure === 'wrong-password') return 'closed' as const;
        throw error;
      },
    );
    if (found === 'open') return;
    if (found === 'closed') {
      const what = known ? 'The password that the agent holds does not open it' : 'The agent holds no password of it';
      throw new ArchiveWorkError(
        'password-missing',
        `There is an archive in the vault already. ${what}. Put back the one from your safe: mainstay-agent archive password NAME --put FILE`,
      );
    }
    if (!create) throw new ArchiveWorkError('repository-absent', 'There is no repository in the vault yet.');
    if (!known) await this.writePassword('password', await this.parts.key.make());
    await rm(path.join(this.directory, KEY_HINT), { force: true });
    await this.require(['init']);
  }
}

/** How restic enters by the files of a work's folder. */
function entering(directory: string, cacheDirectory: string, by?: RepositoryCall['by']): string[] {
  const [authority, hint] = [path.join(directory, AUTHORITY), path.join(directory, KEY_HINT)];
  const first = by?.key ?? (existsSync(hint) ? readFileSync(hint, 'utf8') : undefined);
  return [
    '--json',
    `--repository-file=${path.join(directory, 'repository')}`,
    `--password-file=${by?.file ?? path.join(directory, 'password')}`,
    `--cache-dir=${cacheDirectory}`,
    '--cleanup-cache',
    ...(existsSync(authority) ? [`--cacert=${authority}`] : []),
    // It tries this key first. Left alone it gives up at a key that is none, and after twenty: whoever may add objects could
    // lock the agent out.
    ...(first === undefined ? [] : [`--key-hint=${first}`]),
  ];
}

/**
 * A restic that was interrupted just after it had taken its lock, or killed, leaves it. `restic unlock` removes those of
 * this machine whose process is gone, and the vault lets a credential remove no locks but its own. Best effort: a lock that
 * stays is stale after half an hour.
 */
export async function takeLocksBack(restic: ResticProgram, directory: string, cacheDirectory: string): Promise<void> {
  const args = [...entering(directory, cacheDirectory), 'unlock'];
  await runRestic(restic, { args, directory, signal: AbortSignal.timeout(UNLOCK_MS) }).catch(() => undefined);
}

/** restic's own form of an address, with the credential in it. */
export function resticAddress({ url, user, secret }: RepositoryAccess): string {
  const full = new URL(url);
  full.username = encodeURIComponent(user);
  full.password = encodeURIComponent(secret);
  return `rest:${full.toString()}`;
}
