import { createHash, randomUUID } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  PutObjectCommand,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { headOf, isAbsent, lockUntil, type S3Place } from './s3-place.js';
import type { IncomingObject } from './storage.js';
import { ObjectContestedError } from './vault.errors.js';

/** S3's least size of a part is 5 MiB. Half of restic's usual pack, so that a pack is sent while it arrives. */
const PART_BYTES = 8 * 2 ** 20;

/** The metadata by which an upload knows an object as the one that it has made itself. */
const MARK = 'upload';

type OnlyIf = { readonly IfNoneMatch?: '*' };
const ONLY_NEW: OnlyIf = { IfNoneMatch: '*' };

/** One object on its way into a bucket. */
export class IncomingUpload implements IncomingObject {
  readonly copies = false;
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private uploadId: string | undefined;
  private readonly mark = randomUUID();
  private readonly hash = createHash('sha256');
  /** The part on its way. */
  private sending: Promise<void> = Promise.resolve();
  private readonly parts: { ETag: string | undefined; PartNumber: number }[] = [];

  constructor(
    private readonly place: S3Place,
    private readonly key: string,
    private readonly lockSeconds: number | null,
  ) {}

  write(chunk: Buffer): Promise<void> | undefined {
    this.hash.update(chunk);
    this.pending.push(chunk);
    this.pendingBytes += chunk.length;
    if (this.pendingBytes < PART_BYTES) return undefined;
    this.sending = this.sending.then(() => this.sendPart());
    this.sending.catch(() => undefined);
    return this.sending;
  }

  async digest(): Promise<string> {
    await this.sending;
    return this.hash.digest('hex');
  }

  async commit(): Promise<'stored' | 'exists'> {
    await this.sending;
    try {
      if (this.uploadId === undefined) await this.putWhole();
      else await this.complete(this.uploadId);
      return 'stored';
    } catch (error) {
      const status = error instanceof S3ServiceException ? error.$metadata.httpStatusCode : undefined;
      if (status !== 412 && status !== 409) throw error;
      const there = await headOf(this.place, this.key);
      // Its own first attempt's answer was lost, and the client of S3 sent it once more.
      if (there?.Metadata?.[MARK] === this.mark) return 'stored';
      // 409: another operation on it has not ended. It may be its removal, or a completion that fails.
      if (status === 409 && !there) throw new ObjectContestedError(this.key);
      return 'exists';
    }
  }

  async replace(): Promise<void> {
    await this.sending;
    if (this.uploadId === undefined) await this.putWhole({});
    else await this.complete(this.uploadId, {});
  }

  async discard(): Promise<void> {
    // A part that arrives after the end of its upload is kept by S3, and charged.
    await this.sending.catch(() => undefined);
    const { uploadId } = this;
    this.pending = [];
    if (uploadId === undefined) return;
    this.uploadId = undefined;
    try {
      await this.place.client.send(new AbortMultipartUploadCommand({ ...this.where, UploadId: uploadId }));
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }

  private get where(): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.place.bucket, Key: this.key };
  }

  /** What the object is made with. */
  private get made() {
    return { ...this.where, Metadata: { [MARK]: this.mark }, ...lockUntil(this.lockSeconds) };
  }

  private take(): Buffer {
    const body = Buffer.concat(this.pending);
    this.pending = [];
    this.pendingBytes = 0;
    return body;
  }

  private async putWhole(only: OnlyIf = ONLY_NEW): Promise<void> {
    const Body = this.take();
    await this.place.client.send(new PutObjectCommand({ ...this.made, Body, ...only }));
  }

  private async sendPart(): Promise<void> {
    const { client } = this.place;
    this.uploadId ??= (await client.send(new CreateMultipartUploadCommand(this.made))).UploadId;
    const PartNumber = this.parts.length + 1;
    const part = new UploadPartCommand({ ...this.where, UploadId: this.uploadId, PartNumber, Body: this.take() });
    this.parts.push({ ETag: (await client.send(part)).ETag, PartNumber });
  }

  private async complete(uploadId: string, only: OnlyIf = ONLY_NEW): Promise<void> {
    if (this.pendingBytes > 0) await this.sendPart();
    await this.place.client.send(
      new CompleteMultipartUploadCommand({
        ...this.where,
        UploadId: uploadId,
        ...only,
        MultipartUpload: { Parts: this.parts },
      }),
    );
    this.uploadId = undefined;
  }
}
