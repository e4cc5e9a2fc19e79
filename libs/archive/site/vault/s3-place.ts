import { type S3Client, S3ServiceException } from '@aws-sdk/client-s3';

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

export const isAbsent = (error: unknown): boolean =>
  error instanceof S3ServiceException && (error.$metadata.httpStatusCode === 404 || error.name === 'NoSuchKey');
