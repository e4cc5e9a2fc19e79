import { access } from 'node:fs/promises';
import path from 'node:path';
import type { KMSClient } from '@aws-sdk/client-kms';
import { ifPresent } from '#libs/platform/errors';
import { type KeyEncryption, KeyUnavailableError, LocalKeyEncryption } from './key-encryption.js';
import { KmsKeyEncryption } from './kms-key-encryption.js';

/** A key of a key management service. */
export interface ServiceKey {
  readonly client: KMSClient;
  /** Its id or ARN. */
  readonly key: string;
  /** False: it only opens what it sealed before. */
  readonly seals: boolean;
}

export interface KeyFiles {
  readonly kekFile: string | null;
  readonly oldKekFiles: readonly string[];
  /** Where a key lies that was made here. */
  readonly directory: string;
}

/** Seals with one, and opens what any of them has sealed: so a site moves from a file to a service, or back. */
class KeyRing implements KeyEncryption {
  constructor(
    private readonly current: KeyEncryption,
    private readonly others: readonly KeyEncryption[],
  ) {}

  get id(): string {
    return this.current.id;
  }

  opens(sealedBy: string): boolean {
    return [this.current, ...this.others].some((each) => each.opens(sealedBy));
  }

  seal(plain: Buffer, context: string): Promise<Buffer> {
    return this.current.seal(plain, context);
  }

  async open(sealed: Buffer, context: string, sealedBy: string): Promise<Buffer> {
    const opener = [this.current, ...this.others].find((each) => each.opens(sealedBy));
    if (!opener) throw new KeyUnavailableError(`no key-encryption key with the id ${sealedBy} is at hand`);
    return opener.open(sealed, context, sealedBy);
  }
}

/** What a site seals passwords with, by its settings. @throws Error naming the file that holds no key */
export async function keyEncryptionOf(files: KeyFiles, service: ServiceKey | null): Promise<KeyEncryption> {
  const { kekFile, oldKekFiles, directory } = files;
  if (service === null) return LocalKeyEncryption.load(kekFile, oldKekFiles, directory);
  const kms = new KmsKeyEncryption(service.client, service.key);
  if (!service.seals) return new KeyRing(await LocalKeyEncryption.load(kekFile, oldKekFiles, directory), [kms]);
  const made = path.join(directory, 'kek');
  const present = (await ifPresent(access(made).then(() => [made]))) ?? [];
  const [first, ...rest] = [...(kekFile === null ? present : [kekFile]), ...oldKekFiles];
  return new KeyRing(kms, first === undefined ? [] : [await LocalKeyEncryption.load(first, rest, directory)]);
}
