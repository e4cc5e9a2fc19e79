import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import path from 'node:path';
import { errorCode } from '#libs/platform/errors';

/** A link, a socket, a file where a folder should be, or what only root may read where we are not: no such file, too. */
const NOT_THERE = new Set<string | undefined>(['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO', 'ENAMETOOLONG', 'EACCES']);

/**
 * Works with a restored file. The tree is the agency's machine's word: links in it are not followed, and what is no file is
 * not read.
 *
 * @param name as the snapshot has it, absolute
 * @returns undefined when there is no such file
 */
async function withFile<T>(root: string, name: string, work: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  if (name !== path.posix.resolve('/', name)) return undefined;
  const parent = `.${path.posix.dirname(name)}`;
  const folder = await unlessGone(realpath(path.resolve(root, parent)));
  if (folder === undefined || folder !== path.resolve(await realpath(root), parent)) return undefined;
  // To open a pipe would wait for who writes to it.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await unlessGone(open(path.join(folder, path.posix.basename(name)), flags));
  try {
    return file && (await file.stat()).isFile() ? await work(file) : undefined;
  } finally {
    await file?.close();
  }
}

async function unlessGone<T>(look: Promise<T>): Promise<T | undefined> {
  try {
    return await look;
  } catch (error) {
    if (NOT_THERE.has(errorCode(error))) return undefined;
    throw error;
  }
}

/** The first bytes of a restored file, or all of it where it has fewer; undefined when there is no such file. */
export function headOf(root: string, name: string, bytes: number): Promise<Buffer | undefined> {
  return withFile(root, name, async (file) => {
    const buffer = Buffer.alloc(bytes);
    const { bytesRead } = await file.read(buffer, 0, bytes, 0);
    return buffer.subarray(0, bytesRead);
  });
}

/** SHA-256 of a restored file, in hexadecimal; undefined when there is no such file. It may be of any size. */
export function hashOf(root: string, name: string, signal: AbortSignal): Promise<string | undefined> {
  return withFile(root, name, async (file) => {
    const hash = createHash('sha256');
    for await (const chunk of file.createReadStream({ autoClose: false, signal })) hash.update(chunk as Buffer);
    return hash.digest('hex');
  });
}
