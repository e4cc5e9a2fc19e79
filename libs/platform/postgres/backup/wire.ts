import { z } from 'zod';

/**
 * The exchange of a base backup in pieces: begin → manifest → hashes and reads, in any order and as often as needed →
 * finish. Every request may be repeated. pg_basebackup cannot take the place of this: cut off, it deletes everything.
 */

const lsn = z.string().regex(/^[0-9A-F]{1,8}\/[0-9A-F]{1,8}$/);
const sessionId = z.uuid();
/** Relative to the data directory, with forward slashes; a tablespace's files lie below `pg_tblspc/<oid>/`. */
const relativePath = z
  .string()
  .min(1)
  .max(1024)
  .refine(
    (path) => !path.startsWith('/') && !path.split('/').some((part) => part === '' || part === '..' || part === '.'),
    {
      message: 'must be a relative path without dots',
    },
  );

export const backupBeginRequest = z.strictObject({
  /** Names the receiver; a new session ends an older one of the same label. */
  label: z.string().regex(/^[a-zA-Z0-9_-]{1,60}$/),
  /** The session to go on with. When it is gone (the source was restarted), a new one is begun. */
  sessionId: sessionId.nullable(),
});
export type BackupBeginRequest = z.infer<typeof backupBeginRequest>;

export const backupTablespace = z.object({ oid: z.number().int().positive(), location: z.string() });
export type BackupTablespace = z.infer<typeof backupTablespace>;

export const backupSession = z.object({
  sessionId,
  /** WAL is needed from here on: the standby's slot must reach back to it. */
  startLsn: lsn,
  timeline: z.number().int().positive(),
  /** 64 bits, so text. */
  systemIdentifier: z.string().regex(/^\d{1,20}$/),
  majorVersion: z.number().int(),
  walSegmentBytes: z.number().int(),
  fromStandby: z.boolean(),
  /** The role of OID 10: it may have any name, and it is what the standby's site signs in as. */
  superuser: z.string(),
  tablespaces: z.array(backupTablespace),
});
export type BackupSession = z.infer<typeof backupSession>;

export const backupEntry = z.object({
  path: relativePath,
  kind: z.enum(['file', 'directory']),
  /** Bytes when listed. A relation may have grown or shrunk since; the write-ahead log makes up for it. */
  size: z.number().int().nonnegative(),
});
export type BackupEntry = z.infer<typeof backupEntry>;

export const backupManifestRequest = z.strictObject({
  sessionId,
  /** 0, and then each answer's `next`. */
  from: z.number().int().nonnegative(),
});
export type BackupManifestRequest = z.infer<typeof backupManifestRequest>;
export const backupManifestPage = z.object({
  entries: z.array(backupEntry),
  next: z.number().int().nullable(),
  /** Of the whole manifest. */
  totalEntries: z.number().int(),
  totalBytes: z.number().int(),
});
export type BackupManifestPage = z.infer<typeof backupManifestPage>;

export const backupRange = z.strictObject({
  path: relativePath,
  offset: z.number().int().nonnegative(),
  length: z.number().int().positive(),
});
export type BackupRange = z.infer<typeof backupRange>;
/** Of the file at one time: one list per range, one hash per block of {@link BLOCK_BYTES}; fewer when it has shrunk. */
export const backupHashesRequest = z.strictObject({ sessionId, ranges: z.array(backupRange).min(1).max(512) });
export type BackupHashesRequest = z.infer<typeof backupHashesRequest>;
export const backupHashes = z.object({ hashes: z.array(z.array(z.string())) });
export type BackupHashes = z.infer<typeof backupHashes>;

/**
 * The answer is a byte stream: for each range in turn frames of a 4-byte big-endian head and its bytes, and a head of 0
 * at the range's end. The head's top bit says that the frame is zstd-compressed; the rest is its length. A file that
 * has shrunk or gone ends its range early.
 */
export const backupReadRequest = z.strictObject({
  sessionId,
  ranges: z.array(backupRange).min(1).max(512),
  compress: z.boolean(),
});
export type BackupReadRequest = z.infer<typeof backupReadRequest>;

export const backupFinishRequest = z.strictObject({ sessionId });
export type BackupFinishRequest = z.infer<typeof backupFinishRequest>;
export const backupFinish = z.object({
  stopLsn: lsn,
  backupLabel: z.string(),
  /** global/pg_control, base64. Copied last of all, as PostgreSQL demands for a backup taken from a standby. */
  controlFile: z.string(),
});
export type BackupFinish = z.infer<typeof backupFinish>;

export const backupEndRequest = z.strictObject({ sessionId });
export type BackupEndRequest = z.infer<typeof backupEndRequest>;

/** Hashes cover blocks of this size, and pieces are multiples of it. Both ends must agree, so it is part of the wire. */
export const BLOCK_BYTES = 256 * 1024;
/** The most that the ranges of one request may add up to. */
export const REQUEST_BYTES_MAX = 16 * 1024 * 1024;
export const FRAME_BYTES_MAX = 1024 * 1024;

/** The error code with which a source says that the session is gone: begin anew. Carry it as the error's `code`. */
export const SESSION_LOST = 'backup.session-lost';

/**
 * A source as the receiver sees it, through a tunnel or directly. Each function rejects when the line breaks and may be
 * called again, and parses what comes over a line by the schemas above; an error whose `code` is {@link SESSION_LOST} makes the receiver begin a new session.
 */
export interface BackupTransport {
  begin(request: BackupBeginRequest, signal?: AbortSignal): Promise<BackupSession>;
  manifest(request: BackupManifestRequest, signal?: AbortSignal): Promise<BackupManifestPage>;
  hashes(request: BackupHashesRequest, signal?: AbortSignal): Promise<BackupHashes>;
  read(request: BackupReadRequest, signal?: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  finish(request: BackupFinishRequest, signal?: AbortSignal): Promise<BackupFinish>;
  /** Frees the session; not needed for correctness, since idle sessions run out. */
  end(request: BackupEndRequest, signal?: AbortSignal): Promise<void>;
}
