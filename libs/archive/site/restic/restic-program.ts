import { execFile } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { childEnvironment, searchPath } from '#libs/platform/config';
import { errorText } from '#libs/platform/errors';
import { passableProgram } from './passable-program.js';
import { ResticMissingError } from './restic.errors.js';

const run = promisify(execFile);
/** `restore --overwrite --delete`, exit codes 10 to 12 and `key add --host` are there from it on. */
const NEEDED = [0, 17] as const;

/** The restic of this host, found once. */
export class ResticProgram {
  private found: Promise<string> | undefined;

  /**
   * @param program null: the first of PATH that is new enough
   * @param copies where a copy is put when a user without rights cannot reach it; null when it runs as ourselves
   */
  constructor(
    private readonly program: string | null,
    private readonly copies: string | null,
  ) {}

  /** @throws ResticMissingError */
  path(): Promise<string> {
    const looking = (this.found ??= this.find());
    // It may be installed in the meantime.
    looking.catch(() => (this.found = undefined));
    return looking;
  }

  private async find(): Promise<string> {
    const candidates = this.program ? [this.program] : searchPath().map((folder) => path.join(folder, 'restic'));
    const seen: string[] = [];
    for (const candidate of candidates) {
      const there = await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (!there) continue;
      const version = await versionOf(candidate);
      if (version.major > NEEDED[0] || version.minor >= NEEDED[1]) {
        return this.copies === null ? candidate : passableProgram(candidate, this.copies);
      }
      seen.push(`${candidate} ${version.text}`);
    }
    throw new ResticMissingError(seen.length > 0 ? `found ${seen.join(', ')}` : 'none was found');
  }
}

async function versionOf(file: string): Promise<{ major: number; minor: number; text: string }> {
  try {
    const { stdout } = await run(file, ['version'], { env: childEnvironment({}), timeout: 10_000 });
    const [text = '', major = '0', minor = '0'] = /(\d+)\.(\d+)\S*/.exec(stdout) ?? [];
    return { major: Number(major), minor: Number(minor), text };
  } catch (error) {
    return { major: 0, minor: 0, text: errorText(error) };
  }
}
