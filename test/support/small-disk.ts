import { mkdtemp, open, rm, statfs, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { errorCode, errorText } from '#libs/platform/errors';
import { keptDirectory, runTool } from '#libs/platform/postgres';

const CHUNK_BYTES = 1024 * 1024;

/** A file system of its own in memory, which a test can fill to the last byte. Mounting takes root's rights. */
export class SmallDisk {
  private constructor(readonly directory: string) {}

  /** Why none can be had here, for a skipped test's name; null where one can. */
  static async refusal(): Promise<string | null> {
    try {
      await (await SmallDisk.mount(CHUNK_BYTES)).unmount();
      return null;
    } catch (error) {
      return errorText(error);
    }
  }

  /** @throws where mounting is not permitted */
  static async mount(bytes: number): Promise<SmallDisk> {
    const directory = await mkdtemp(path.join(tmpdir(), 'mainstay-disk-'));
    const mount = ['-t', 'tmpfs', '-o', `size=${bytes},mode=0755`, 'mainstay-test', directory];
    await runTool('/usr/bin/mount', mount, { timeoutMs: 10_000 }).catch(async (error: unknown) => {
      await rm(directory, { recursive: true });
      throw error;
    });
    await keptDirectory(directory);
    return new SmallDisk(directory);
  }

  /** Until `left` bytes are free. */
  async fill(left = 0): Promise<void> {
    const ballast = await open(this.ballast, 'a');
    try {
      for (let bytes = CHUNK_BYTES; bytes >= 4096;) {
        if ((await this.free()) - bytes < left) bytes /= 2;
        else await ballast.appendFile(Buffer.alloc(bytes));
      }
    } catch (error) {
      if (errorCode(error) !== 'ENOSPC') throw error;
    } finally {
      await ballast.close();
    }
  }

  /** Gives back what {@link fill} took. */
  async clear(): Promise<void> {
    await truncate(this.ballast, 0);
  }

  async free(): Promise<number> {
    const { bavail, bsize } = await statfs(this.directory);
    return bavail * bsize;
  }

  async unmount(): Promise<void> {
    await runTool('/usr/bin/umount', ['--lazy', this.directory], { timeoutMs: 10_000 });
    await rm(this.directory, { recursive: true, force: true });
  }

  private get ballast(): string {
    return path.join(this.directory, 'ballast');
  }
}
