import {
  HeadBucketCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
  type S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { errorText } from '#libs/platform/errors';

export interface S3Place {
  readonly client: S3Client;
  readonly bucket: string;
  /** Ends with a slash, or is empty. */
  readonly prefix: string;
  /** For buckets with Object Lock: how long each object but a lock is locked from its receipt on. Null: not. */
  readonly lockSeconds: number | null;
}

/** What S3 is to be told of an object's lock. */
export function lockUntil(seconds: number | null) {
  if (seconds === null) return {};
  const until = new Date(Date.now() + seconds * 1_000);
  return { ObjectLockMode: 'COMPLIANCE', ObjectLockRetainUntilDate: until } as const;
}

/** Whatever it was asked for is not there; of a bucket that is gone nobody knows what was in it. */
export const isAbsent = (error: unknown): boolean =>
  error instanceof S3ServiceException && error.$metadata.httpStatusCode === 404 && error.name !== 'NoSuchBucket';

/**
 * What S3 says of an object; undefined where there is none.
 *
 * @throws Error when the bucket itself is not there: the answer to HEAD has no body that could tell the two apart
 */
export async function headOf({ client, bucket }: S3Place, Key: string): Promise<HeadObjectCommandOutput | undefined> {
  try {
    return await client.send(new HeadObjectCommand({ Bucket: bucket, Key }));
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  try {
    await client.send(new HeadBucketCommand({ Bucket: bucket }));
  } catch (error) {
    // Whose rights end at the prefix may not look at the bucket, which is there then.
    const forbidden = error instanceof S3ServiceException && error.$metadata.httpStatusCode === 403;
    if (!forbidden) throw new Error(`the bucket ${bucket} cannot be looked at: ${errorText(error)}`, { cause: error });
  }
  return undefined;
}
