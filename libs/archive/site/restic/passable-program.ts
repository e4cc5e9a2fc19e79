import { createHash } from 'node:crypto';
import { chmod, mkdir, open, readdir, readFile, realpath, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';

const OTHERS_MAY_RUN = 0o005;
const OTHERS_MAY_PASS = 0o001;
const PREFIX = 'restic-';

/**
 * A program for a user who has no rights of his own: itself, or, where it lies below a folder that others may not pass (a
 * checkout in somebody's home, say), a copy. The copy's name is the hash of its bytes, and it is read again at each start.
 *
 * @param folder of ours, that others may pass; made when missing
 */
export async function passableProgram(program: string, folder: string): Promise<string> {
  if (await othersMayRun(program)) return program;
  const bytes = await readFile(program);
  const hash = sha256(bytes);
  const copy = path.join(folder, PREFIX + hash);
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o711);
  const present = await ifPresent(readFile(copy));
  if (!present || sha256(present) !== hash) await write(copy, bytes);
  for (const name of await readdir(folder)) {
    if (name.startsWith(PREFIX) && name !== PREFIX + hash) await rm(path.join(folder, name), { force: true });
  }
  return copy;
}

async function othersMayRun(program: string): Promise<boolean> {
  const file = await realpath(program);
  if (!allowed((await stat(file)).mode, OTHERS_MAY_RUN)) return false;
  // By its own name and by where that leads.
  for (const from of new Set([path.resolve(program), file])) {
    for (let at = path.dirname(from); ; at = path.dirname(at)) {
      if (!allowed((await stat(at)).mode, OTHERS_MAY_PASS)) return false;
      if (at === path.dirname(at)) break;
    }
  }
  return true;
}

const allowed = (mode: number, bits: number): boolean => (mode & bits) === bits;

/** Seen whole or not at all, also by a site that was killed in between. */
async function write(copy: string, bytes: Buffer): Promise<void> {
  const temporary = `${copy}.new`;
  await rm(temporary, { force: true });
  const handle = await open(temporary, 'wx', 0o755);
  try {
    await handle.writeFile(bytes);
    await handle.chmod(0o755);
    await handle.sync();
  } finally {
    await handle.close();
  }
  if (sha256(await readFile(temporary)) !== sha256(bytes))
    throw new Error(`the copy of ${copy} is not what was written`);
  await rename(temporary, copy);
}

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
