import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  type ArchiveWork,
  beginWorkCommand,
  forgetWorkCommand,
  lookWorkCommand,
  type RepositoryAccess,
  type WorkLook,
} from '#contracts/archive';
import { childEnvironment } from '#libs/platform/config';
import { AgentCommands, type SiteCommand } from '#libs/sites/site';

const run = promisify(execFile);
const PASSWORD = 'known to the agency alone';

/** An agency's agent that alone has the password: it forgets and checks with the real restic, as it is told. */
export class HoldingAgent extends AgentCommands {
  /** What it was told to do, in order. */
  readonly told: ArchiveWork[] = [];
  readonly accesses: RepositoryAccess[] = [];
  private readonly works = new Map<string, Promise<WorkLook>>();

  async call<I, O>(_agentId: string, command: SiteCommand<I, O>, input: I): Promise<O> {
    if (command.path === beginWorkCommand.path) {
      const { workId, access, work } = beginWorkCommand.input.parse(input);
      this.told.push(work);
      this.accesses.push(access);
      this.works.set(workId, this.works.get(workId) ?? this.carryOut(access, work));
      return command.output.parse({ ok: true });
    }
    if (command.path === lookWorkCommand.path) {
      const { workId } = lookWorkCommand.input.parse(input);
      const absent: WorkLook = { state: 'absent', progress: null, result: null };
      return command.output.parse((await this.works.get(workId)) ?? absent);
    }
    if (command.path === forgetWorkCommand.path) {
      this.works.delete(forgetWorkCommand.input.parse(input).workId);
      return command.output.parse({ ok: true });
    }
    throw new Error(`${command.path} is not for this test`);
  }

  stream(): Promise<never> {
    return Promise.reject(new Error('not for this test'));
  }

  /** restic with the agency's password. @returns its standard output */
  async restic(access: Omit<RepositoryAccess, 'password'>, ...words: string[]): Promise<string> {
    const home = await mkdtemp(path.join(tmpdir(), 'mainstay-holder-'));
    const authority = path.join(home, 'authority.pem');
    await writeFile(authority, access.authority ?? '');
    try {
      const env = childEnvironment({
        HOME: home,
        RESTIC_PASSWORD: PASSWORD,
        RESTIC_REPOSITORY: `rest:${access.url}`,
        RESTIC_REST_USERNAME: access.user,
        RESTIC_REST_PASSWORD: access.secret,
        RESTIC_CACERT: authority,
      });
      return (await run('restic', ['--no-cache', ...words], { env, cwd: home })).stdout;
    } finally {
      await rm(home, { recursive: true, force: true });
    }
  }

  private async carryOut(access: RepositoryAccess, work: ArchiveWork): Promise<WorkLook> {
    const at = new Date().toISOString();
    const failure = await this.act(access, work).then(
      () => null,
      (error: unknown) => ({
        code: work.kind === 'check' ? 'archive.check-failed' : 'archive.restic',
        message: String(error).slice(0, 2_000),
      }),
    );
    const nothing = { snapshots: [], filesRestored: 0, filesSkipped: 0, bytesRestored: 0, faultCount: 0, faults: [] };
    const ended = { state: failure ? 'failed' : 'completed', startedAt: at, endedAt: at } as const;
    const result = { ...nothing, ...ended, removed: [], renamedCount: null, failure };
    return { state: 'ended', progress: null, result };
  }

  private async act(access: RepositoryAccess, work: ArchiveWork): Promise<void> {
    if (work.kind === 'forget') await this.restic(access, 'forget', '--prune', ...work.snapshotIds);
    if (work.kind === 'check') {
      await this.restic(access, 'check', '--no-lock', `--read-data-subset=${work.part}/${work.of}`);
    }
  }
}
