import type { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { ASIDE, asideName, parseAsideName } from './aside-names.js';
import { isObjectId, objectLabel, type ObjectName, type ObjectType } from './object-names.js';
import { headOf, isAbsent, lockUntil, type S3Place } from './s3-place.js';
import { IncomingUpload } from './s3-upload.js';
import type { ByteRange, IncomingObject, LaidAside, ListedObject, StoredObject, VaultStorage } from './storage.js';
import { ObjectNotFoundError } from './vault.errors.js';

const MARKERS = '.repositories/';

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
    for (const prefix of [`${this.place.prefix}${repository}/`, this.asidePrefix(repository)]) {
      for await (const keys of this.pages(prefix)) {
        const Objects = keys.map(({ Key }) => ({ Key: Key ?? '' }));
        if (Objects.length > 0) await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }));
      }
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
    await this.delete(Key);
    return true;
  }

  /**
   * A copy within the bucket, whether or not it keeps versions: a delete marker costs less, but is found only by reading
   * through all versions, and a bucket's own rules decide when what it hides goes.
   */
  async layAside(repository: string, name: ObjectName, removedAt: Date): Promise<boolean> {
    const Key = this.key(repository, name);
    if (!(await this.copy(Key, this.asidePrefix(repository) + asideName({ name, removedAt }), null))) return false;
    await this.delete(Key);
    return true;
  }

  async *laidAside(repository: string): AsyncIterable<LaidAside> {
    const prefix = this.asidePrefix(repository);
    for await (const page of this.pages(prefix)) {
      for (const { Key = '', Size } of page) {
        const named = parseAsideName(Key.slice(prefix.length));
        if (named) yield { ...named, bytes: Size ?? 0 };
      }
    }
  }

  async bringBack(repository: string, aside: LaidAside): Promise<'returned' | 'present' | 'absent'> {
    const [from, to] = [this.asidePrefix(repository) + asideName(aside), this.key(repository, aside.name)];
    if (!(await this.head(from))) return 'absent';
    if (await this.head(to)) return 'present';
    if (!(await this.copy(from, to, this.place.lockSeconds))) return 'absent';
    await this.delete(from);
    return 'returned';
  }

  discardAside(repository: string, aside: LaidAside): Promise<void> {
    return this.delete(this.asidePrefix(repository) + asideName(aside));
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

  private async delete(Key: string): Promise<void> {
    await this.place.client.send(new DeleteObjectCommand({ Bucket: this.place.bucket, Key }));
  }

  /** @returns false when there is nothing to copy. */
  private async copy(from: string, to: string, lockSeconds: number | null): Promise<boolean> {
    const { client, bucket } = this.place;
    const source = `${bucket}/${from}`.split('/').map(encodeURIComponent).join('/');
    try {
      await client.send(
        new CopyObjectCommand({ Bucket: bucket, Key: to, CopySource: source, ...lockUntil(lockSeconds) }),
      );
      return true;
    } catch (error) {
      if (isAbsent(error)) return false;
      throw error;
    }
  }

  private asidePrefix(repository: string): string {
    return `${this.place.prefix}${ASIDE}/${repository}/`;
  }

  private async head(key: string): Promise<StoredObject | undefined> {
    const found = await headOf(this.place, key);
    return found && { bytes: found.ContentLength ?? 0, receivedAt: found.LastModified ?? new Date() };
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
