import { randomBytes, randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import {
  type ArchiveCommand,
  type ArchiveWork,
  beginWorkCommand,
  cancelWorkCommand,
  forgetWorkCommand,
  type KeyMode,
  lookWorkCommand,
  type RepositoryAccess,
  type WorkLook,
  type WorkResult,
} from '#contracts/archive';
import { createAuthority, issueCertificate } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { createLogger } from '#libs/platform/telemetry';
import { agentConfiguration, type AgentWorkload, StateDirectory } from '#libs/sites/agent';
import { VaultUnderTest } from '../../libs/archive/site/vault/testing/vault-under-test.js';
import { ArchiveCommands } from '#libs/archive/agent';

const run = promisify(execFile);
const ENDS = { timeoutMs: 55_000, everyMs: 50 };

export interface TestAuthority {
  readonly authority: string;
  readonly vault: VaultUnderTest;
}

/** A vault on TLS, as a site has it. */
export async function secureVault(): Promise<TestAuthority> {
  const authority = await createAuthority('test authority');
  const { certificate, privateKey } = await issueCertificate(authority, {
    commonName: 'vault',
    ipAddresses: ['127.0.0.1'],
    usages: ['server'],
  });
  return {
    authority: authority.certificate,
    vault: await VaultUnderTest.start({ tls: { certificate, key: privateKey } }),
  };
}

/** One archive of one workload: a repository in the vault, and what the site would send the agent. */
export class TestArchive {
  readonly workloadId = randomUUID();
  readonly archiveId = randomUUID();

  private constructor(
    private readonly place: TestAuthority,
    readonly access: RepositoryAccess,
    private readonly home: string,
    private readonly password: string,
  ) {}

  /** @param keyMode escrowed: the repository is made here, as the site does */
  static async open(place: TestAuthority, keyMode: KeyMode, program = 'restic'): Promise<TestArchive> {
    const { id, credential } = await place.vault.repository('append');
    const password = randomBytes(12).toString('hex');
    const access: RepositoryAccess = {
      repositoryId: id,
      url: `https://127.0.0.1:${place.vault.service.port}/${id}/`,
      user: credential.credentialId,
      secret: credential.secret,
      authority: place.authority,
      password: keyMode === 'escrowed' ? password : null,
    };
    const home = await mkdtemp(path.join(tmpdir(), 'mainstay-archive-'));
    await writeFile(path.join(home, 'authority.pem'), place.authority);
    const archive = new TestArchive(place, access, home, password);
    if (keyMode === 'escrowed') await archive.restic(['init'], program);
    return archive;
  }

  /** What another credential would be sent with. */
  async as(role: 'append' | 'read'): Promise<RepositoryAccess> {
    const { credentialId, secret } = await this.place.vault.repositories.issue(this.access.repositoryId, role);
    return { ...this.access, user: credentialId, secret };
  }

  /** Stock restic on the repository. */
  async restic(args: readonly string[], program = 'restic', password = this.password): Promise<string> {
    const { user, secret, url } = this.access;
    const env = childEnvironment({
      HOME: this.home,
      RESTIC_PASSWORD: password,
      RESTIC_REPOSITORY: `rest:${url.replace('https://', `https://${user}:${secret}@`)}`,
    });
    const cacert = ['--no-cache', '--cacert', path.join(this.home, 'authority.pem')];
    return (await run(program, [...cacert, ...args], { env, maxBuffer: 64 * 2 ** 20 })).stdout;
  }

  async snapshots(): Promise<{ id: string; hostname: string; tags: string[]; paths: string[] }[]> {
    return JSON.parse(await this.restic(['snapshots', '--json'])) as never;
  }

  async locks(): Promise<string[]> {
    return (await this.restic(['list', 'locks', '--no-lock'])).split('\n').filter(Boolean);
  }
}

/** The agent's part of archives, in this process, with commands as a site gives them. */
export class AgentUnderTest {
  private constructor(
    readonly home: string,
    readonly state: StateDirectory,
    private readonly commands: ArchiveCommands,
  ) {}

  static async start(
    workloads: readonly object[],
    settings: { restoreTo?: string[]; restic?: string } = {},
    home?: string,
  ): Promise<AgentUnderTest> {
    const place = home ?? (await mkdtemp(path.join(tmpdir(), 'mainstay-archiving-')));
    const state = new StateDirectory(path.join(place, 'state'));
    await mkdir(state.path, { recursive: true });
    const commands = new ArchiveCommands({
      configuration: agentConfiguration.parse({ workloads, ...settings }),
      state,
      log: createLogger({ name: 'agent under test', level: 'silent' }),
    });
    await commands.start();
    return new AgentUnderTest(place, state, commands);
  }

  async stop(): Promise<void> {
    await this.commands.close();
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.home, { recursive: true, force: true });
  }

  /** A command as it comes through the tunnel; its answer as JSON. */
  async carryOut(path_: string, body: unknown): Promise<unknown> {
    return (await this.commands.carryOut(path_, body, new AbortController().signal)).json;
  }

  /** As over the line: input and output as JSON, read by the contract. */
  async ask<I, O>(command: ArchiveCommand<I, O>, input: I): Promise<O> {
    const { json } = await this.commands.carryOut(
      command.path,
      JSON.parse(JSON.stringify(input)),
      new AbortController().signal,
    );
    return command.output.parse(JSON.parse(JSON.stringify(json)));
  }

  async begin(
    archive: TestArchive,
    name: string,
    work: ArchiveWork,
    { workId = randomUUID() as string, access = archive.access } = {},
  ): Promise<string> {
    await this.ask(beginWorkCommand, { workloadId: archive.workloadId, workloadName: name, workId, access, work });
    return workId;
  }

  look(archive: TestArchive, name: string, workId: string): Promise<WorkLook> {
    return this.ask(lookWorkCommand, { workloadId: archive.workloadId, workloadName: name, workId });
  }

  async cancel(archive: TestArchive, name: string, workId: string): Promise<void> {
    await this.ask(cancelWorkCommand, { workloadId: archive.workloadId, workloadName: name, workId });
  }

  async forget(archive: TestArchive, name: string, workId: string): Promise<void> {
    await this.ask(forgetWorkCommand, { workloadId: archive.workloadId, workloadName: name, workId });
  }

  ended(archive: TestArchive, name: string, workId: string): Promise<WorkResult> {
    return waitFor('the work to end', async () => (await this.look(archive, name, workId)).result, ENDS);
  }

  async work(
    archive: TestArchive,
    name: string,
    work: ArchiveWork,
    how: { workId?: string; access?: RepositoryAccess } = {},
  ): Promise<WorkResult> {
    return this.ended(archive, name, await this.begin(archive, name, work, how));
  }
}

/** A backup as a site asks for it. */
export function backupOf(
  source: AgentWorkload['kind'],
  over: Partial<Extract<ArchiveWork, { kind: 'backup' }>> = {},
): ArchiveWork {
  const limits = { bandwidthBytesPerSecond: null };
  return { kind: 'backup', source, excludes: [], limits, previous: [], tags: [`run:${randomUUID()}`], ...over };
}

export function restoreOf(
  snapshotId: string,
  over: Partial<Extract<ArchiveWork, { kind: 'restore' }>> = {},
): ArchiveWork {
  const limits = { bandwidthBytesPerSecond: null };
  return { kind: 'restore', snapshotId, paths: [], target: { kind: 'original' }, overwrite: 'never', limits, ...over };
}
