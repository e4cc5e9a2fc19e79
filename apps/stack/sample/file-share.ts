import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { ifPresent } from '#libs/platform/errors';

/** As the agent's configuration calls it. */
export const SHARE_WORKLOAD = 'clerk-share';

const FOLDERS = ['minutes', 'permits/scans', 'permits/plans', 'water-billing'];
const FILES_EACH = 30;

/** The town clerk's file share: some folders of documents, and what a bad script does to them. */
export class FileShare {
  constructor(readonly directory: string) {}

  /** Fills it the first time. */
  async fill(): Promise<void> {
    if ((await ifPresent(readdir(this.directory))) !== undefined) return;
    for (const folder of FOLDERS) {
      await mkdir(path.join(this.directory, folder), { recursive: true });
      for (let n = 1; n <= FILES_EACH; n += 1) {
        await writeFile(path.join(this.directory, folder, `document-${n}.pdf`), randomBytes(4_096 + n * 512));
      }
    }
  }

  /** The SHA-256 of every file, by its path inside the share. */
  async hashes(): Promise<ReadonlyMap<string, string>> {
    const entries = await readdir(this.directory, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    const hashed = files.sort().map(async (file): Promise<[string, string]> => {
      const hash = createHash('sha256').update(await readFile(file));
      return [path.relative(this.directory, file), hash.digest('hex')];
    });
    return new Map(await Promise.all(hashed));
  }

  /** "Clean up old scans": removes one folder, and writes rubbish over another. */
  async runBadScript(): Promise<void> {
    await rm(path.join(this.directory, 'permits/scans'), { recursive: true });
    const minutes = path.join(this.directory, 'minutes');
    for (const name of await readdir(minutes)) await writeFile(path.join(minutes, name), randomBytes(2_048));
  }
}
