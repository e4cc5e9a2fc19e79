import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { isObjectId, objectLabel, type ObjectName, type ObjectType } from './object-names.js';
import type { ByteRange, IncomingObject, ListedObject, StoredObject, VaultStorage } from './storage.js';
import { ObjectNotFoundError } from './vault.errors.js';

/** S3's least size of a part is 5 MiB. Half of restic's usual pack, so that a pack is sent while it arrives. */
const PART_BYTES = 8 * 2 ** 20;
const MARKERS = '.repositories/';

export interface S3Place {
  readonly client: S3Client;
  readonly bucket: string;
  /** Ends with a slash, or is empty. */
  readonly prefix: string;
  /** For buckets with Object Lock: how long each object but a lock is locked from its receipt on. Null: not. */
  readonly lockSeconds: number | null;
}

/**
 * A vault in an S3 bucket, in the layout that `restic -r s3:…` opens. An upload becomes visible when it is completed, which
 * S3 does at once and only where nothing is (`If-None-Match: *`). The time of receipt is the bucket's own LastModified.
 */
export class S3Storage implements VaultStorage {
  constructor(private readonly place: S3Place) {}

  async createRepository(repository: string): Promise<void> {
    const Key = this.marker(repository);
    await this.place.client.send(new PutObjectCommand({ Bucket: this.place.bucket, Key, Body: Buffer.alloc(0) }));
  }

  async repositoryExists(repository: string): Promise<boolean> {
    return (await this.head(this.marker(repository))) !== undefined;
  }

  async removeRepository(repository: string): Promise<void> {
    const { client, bucket } = this.place;
    // The marker last: a removal that was cut off is found, and gone on with, by whoever removes it again.
    for await (const keys of this.pages(`${this.place.prefix}${repository}/`)) {
      const Objects = keys.map(({ Key }) => ({ Key: Key ?? '' }));
      if (Objects.length > 0) await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }));
    }
    await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: this.marker(repository) }));
  }

  async repositories(): Promise<readonly string[]> {
    const prefix = this.place.prefix + MARKERS;
    const found: string[] = [];
    for await (const page of this.pages(prefix)) found.push(...page.map(({ Key }) => (Key ?? '').slice(prefix.length)));
    return found;
  }

  async *list(repository: string, type: ObjectType): AsyncIterable<ListedObject> {
    for await (const page of this.pages(`${this.place.prefix}${repository}/${type}/`)) {
      for (const { Key = '', Size, LastModified } of page) {
        const id = Key.slice(Key.lastIndexOf('/') + 1);
        if (isObjectId(id)) yield { id, bytes: Size ?? 0, receivedAt: LastModified ?? new Date() };
      }
    }
  }

  stat(repository: string, name: ObjectName): Promise<StoredObject | undefined> {
    return this.head(this.key(repository, name));
  }

  async read(repository: string, name: ObjectName, range?: ByteRange): Promise<Readable> {
    try {
      const { Body } = await this.place.client.send(
        new GetObjectCommand({
          Bucket: this.place.bucket,
          Key: this.key(repository, name),
          ...(range && { Range: `bytes=${range.first}-${range.last}` }),
        }),
      );
      return Body as Readable;
    } catch (error) {
      if (isAbsent(error)) throw new ObjectNotFoundError(objectLabel(name));
      throw error;
    }
  }

  async *pieces(repository: string, name: ObjectName, range?: ByteRange): AsyncIterable<Buffer> {
    yield* (await this.read(repository, name, range)) as AsyncIterable<Buffer>;
  }

  async incoming(repository: string, name: ObjectName): Promise<IncomingObject> {
    return new IncomingUpload(
      this.place,
      this.key(repository, name),
      name.type === 'locks' ? null : this.place.lockSeconds,
    );
  }

  async remove(repository: string, name: ObjectName): Promise<boolean> {
    const Key = this.key(repository, name);
    if (!(await this.head(Key))) return false;
    await this.place.client.send(new DeleteObjectCommand({ Bucket: this.place.bucket, Key }));
    return true;
  }

  async discardLeftovers(): Promise<number> {
    const { client, bucket, prefix } = this.place;
    let found = 0;
    for (;;) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }));
      if (Uploads.length === 0) return found;
      for (const { Key, UploadId } of Uploads) {
        await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }));
      }
      found += Uploads.length;
    }
  }

  private async *pages(prefix: string) {
    let after: string | undefined;
    do {
      const page = await this.place.client.send(
        new ListObjectsV2Command({ Bucket: this.place.bucket, Prefix: prefix, ContinuationToken: after }),
      );
      yield page.Contents ?? [];
      after = page.NextContinuationToken;
    } while (after !== undefined);
  }

  private async head(key: string): Promise<StoredObject | undefined> {
    try {
      const found = await this.place.client.send(new HeadObjectCommand({ Bucket: this.place.bucket, Key: key }));
      return { bytes: found.ContentLength ?? 0, receivedAt: found.LastModified ?? new Date() };
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw error;
    }
  }

  private marker(repository: string): string {
    return `${this.place.prefix}${MARKERS}${repository}`;
  }

  private key(repository: string, name: ObjectName): string {
    const base = `${this.place.prefix}${repository}/`;
    if (name.type === 'config') return `${base}config`;
    return name.type === 'data' ? `${base}data/${name.id.slice(0, 2)}/${name.id}` : `${base}${name.type}/${name.id}`;
  }
}

type OnlyIf = { readonly IfNoneMatch?: '*' };
const ONLY_NEW: OnlyIf = { IfNoneMatch: '*' };

class IncomingUpload implements IncomingObject {
  readonly copies = false;
  private pending: Buffer[] = [];
  private pendingBytes = 0;
  private uploadId: string | undefined;
  private readonly parts: { ETag: string | undefined; PartNumber: number }[] = [];

  constructor(
    private readonly place: S3Place,
    private readonly key: string,
    private readonly lockSeconds: number | null,
  ) {}

  async write(chunks: readonly Buffer[]): Promise<void> {
    for (const chunk of chunks) {
      this.pending.push(chunk);
      this.pendingBytes += chunk.length;
    }
    if (this.pendingBytes >= PART_BYTES) await this.sendPart();
  }

  async commit(): Promise<'stored' | 'exists'> {
    try {
      if (this.uploadId === undefined) await this.putWhole();
      else await this.complete(this.uploadId);
      return 'stored';
    } catch (error) {
      // 412: something is there. 409: somebody else is completing it; theirs has the same name, so the same bytes.
      if (error instanceof S3ServiceException && [409, 412].includes(error.$metadata.httpStatusCode ?? 0))
        return 'exists';
      throw error;
    }
  }

  async replace(): Promise<void> {
    if (this.uploadId === undefined) await this.putWhole({});
    else await this.complete(this.uploadId, {});
  }

  async discard(): Promise<void> {
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

  private get lock() {
    if (this.lockSeconds === null) return {};
    const until = new Date(Date.now() + this.lockSeconds * 1_000);
    return { ObjectLockMode: 'COMPLIANCE', ObjectLockRetainUntilDate: until } as const;
  }

  private take(): Buffer {
    const body = Buffer.concat(this.pending);
    this.pending = [];
    this.pendingBytes = 0;
    return body;
  }

  private async putWhole(only: OnlyIf = ONLY_NEW): Promise<void> {
    const Body = this.take();
    await this.place.client.send(new PutObjectCommand({ ...this.where, Body, ...only, ...this.lock }));
  }

  private async sendPart(): Promise<void> {
    const { client } = this.place;
    this.uploadId ??= (await client.send(new CreateMultipartUploadCommand({ ...this.where, ...this.lock }))).UploadId;
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

const isAbsent = (error: unknown): boolean =>
  error instanceof S3ServiceException && (error.$metadata.httpStatusCode === 404 || error.name === 'NoSuchKey');
