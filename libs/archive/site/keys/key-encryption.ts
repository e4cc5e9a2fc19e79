import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { DomainError } from '#libs/platform/errors';
import { keptSecret } from '../vault/vault-authority.js';

/** What seals passwords: a key-encryption key (KEK) that lies apart from the database, in a file or with a key service. */
export interface KeyEncryption {
  /** Of the key that {@link seal} uses: what was sealed by another is sealed anew by it. */
  readonly id: string;
  /** Whether it has what opens what the key of this {@link id} sealed. */
  opens(sealedBy: string): boolean;
  /** @param context what it is for; it opens for the same only */
  seal(plain: Buffer, context: string): Promise<Buffer>;
  /** @param sealedBy the {@link id} of then @throws KeyUnavailableError */
  open(sealed: Buffer, context: string, sealedBy: string): Promise<Buffer>;
}
export const KEY_ENCRYPTION = Symbol('key encryption');

/** What a password was sealed with is not at hand, or it is not what was sealed. */
export class KeyUnavailableError extends DomainError {
  constructor(detail: string) {
    super('unavailable', 'archive.key-unavailable', 'A password of this archive cannot be opened at its site.', {
      detail,
    });
  }
}

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM with keys from files. A sealed text is nonce, tag and cipher text. */
export class LocalKeyEncryption implements KeyEncryption {
  private constructor(
    readonly id: string,
    private readonly keys: ReadonlyMap<string, Buffer>,
  ) {}

  /**
   * @param file 32 bytes; null: made in `directory` at the first start, readable by this process's user alone
   * @throws Error naming the file that holds no key
   */
  static async load(file: string | null, old: readonly string[], directory: string): Promise<LocalKeyEncryption> {
    const made = () => Promise.resolve(randomBytes(KEY_BYTES));
    const current = file ? await readFile(file) : await keptSecret(path.join(directory, 'kek'), made);
    const keys = [current, ...(await Promise.all(old.map((each) => readFile(each))))];
    const files = [file ?? path.join(directory, 'kek'), ...old];
    keys.forEach((key, index) => {
      if (key.length !== KEY_BYTES) throw new Error(`${files[index]} must hold ${KEY_BYTES} bytes, a key`);
    });
    return new LocalKeyEncryption(idOf(current), new Map(keys.map((key) => [idOf(key), key])));
  }

  opens(sealedBy: string): boolean {
    return this.keys.has(sealedBy);
  }

  seal(plain: Buffer, context: string): Promise<Buffer> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.key(this.id), nonce).setAAD(Buffer.from(context));
    const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
    return Promise.resolve(Buffer.concat([nonce, cipher.getAuthTag(), sealed]));
  }

  async open(sealed: Buffer, context: string, sealedBy: string): Promise<Buffer> {
    const nonce = sealed.subarray(0, NONCE_BYTES);
    const tag = sealed.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', this.key(sealedBy), nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(context)).setAuthTag(tag);
    try {
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]);
    } catch {
      throw new KeyUnavailableError(`what was sealed for ${context} does not open: it, or its key, has changed`);
    }
  }

  private key(id: string): Buffer {
    const key = this.keys.get(id);
    if (!key) throw new KeyUnavailableError(`no key-encryption key with the id ${id} is at hand`);
    return key;
  }
}

/** A name for a key that tells nothing of it. */
const idOf = (key: Buffer): string =>
  `local-${createHash('sha256').update('mainstay key id').update(key).digest('hex').slice(0, 16)}`;
