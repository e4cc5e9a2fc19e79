import { DecryptCommand, EncryptCommand, type KMSClient } from '@aws-sdk/client-kms';
import { errorText } from '#libs/platform/errors';
import { type KeyEncryption, KeyUnavailableError } from './key-encryption.js';

const PREFIX = 'kms:';

/**
 * A key that never leaves a key management service, which speaks AWS KMS's protocol: it sees, and may refuse, each use,
 * and has a log of its own. What a password is for goes along as encryption context, so that the service's log and its
 * key policy can tell archives apart, and one sealed for another archive does not open
 * ({@link https://docs.aws.amazon.com/kms/latest/developerguide/encrypt_context.html AWS KMS: encryption context}).
 */
export class KmsKeyEncryption implements KeyEncryption {
  readonly id: string;

  /** @param key its id or ARN. No alias: that may lead to another key tomorrow, and what is sealed names its key */
  constructor(
    private readonly client: KMSClient,
    private readonly key: string,
  ) {
    this.id = `${PREFIX}${key}`;
  }

  opens(sealedBy: string): boolean {
    return sealedBy.startsWith(PREFIX);
  }

  async seal(plain: Buffer, context: string): Promise<Buffer> {
    const command = new EncryptCommand({
      KeyId: this.key,
      Plaintext: plain,
      EncryptionContext: { mainstay: context },
    });
    const { CiphertextBlob } = await this.client.send(command).catch(unavailable(this.key));
    if (!CiphertextBlob) throw new KeyUnavailableError(`the key service sealed nothing with ${this.key}`);
    return Buffer.from(CiphertextBlob);
  }

  async open(sealed: Buffer, context: string, sealedBy: string): Promise<Buffer> {
    const key = sealedBy.slice(PREFIX.length);
    const command = new DecryptCommand({
      KeyId: key,
      CiphertextBlob: sealed,
      EncryptionContext: { mainstay: context },
    });
    const { Plaintext } = await this.client.send(command).catch(unavailable(key));
    if (!Plaintext) throw new KeyUnavailableError(`the key service opened nothing with ${key}`);
    return Buffer.from(Plaintext);
  }
}

/** The service's own words tell of the key and of who asked, never of what is sealed. */
const unavailable =
  (key: string) =>
  (error: unknown): never => {
    throw new KeyUnavailableError(`the key service does not let ${key} be used: ${errorText(error)}`);
  };
