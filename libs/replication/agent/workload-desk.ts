import { z } from 'zod';
import type { ReplicationNames } from '#contracts/replication';
import { Turns } from '#libs/platform/clock';
import { BackupSource } from '#libs/platform/postgres/backup';
import type { PostgresClient } from '#libs/platform/postgres';
import type { DurableValue, PostgresWorkload } from '#libs/sites/agent';
import { openConnection } from './connection.js';
import { WorkloadUnreachableError } from './errors.js';
import { runPreflight, surveil } from './preflight/index.js';
import { OwnObjects, type MadeRecord } from './own-objects.js';
import type { ProtectionRecord } from './protection-record.js';
import { ReplicationCommands } from './replication-commands.js';
import { ServerSettings, type SettingsRecord } from './server-settings.js';

/** Tablespaces that the sites were told of: a later one is news to them. */
export const baselineRecord = z.strictObject({ tablespaces: z.array(z.string()) });
export type BaselineRecord = z.infer<typeof baselineRecord>;

export interface WorkloadDeskParts {
  readonly workload: PostgresWorkload;
  readonly settings: DurableValue<SettingsRecord>;
  readonly baseline: DurableValue<BaselineRecord>;
  readonly made: DurableValue<MadeRecord>;
  /** Written by the tunnel; read here. */
  readonly protection: DurableValue<ProtectionRecord>;
}

/** A command does not wait longer for a server that hangs; a checkpoint or a big catalogue may take its time. */
const COMMAND_MS = 120_000;

/**
 * Carries out the sites' commands on one workload, one after another, over one superuser's connection that stays open.
 * Its backup sessions outlive the links that asked for them.
 */
export class WorkloadDesk {
  readonly name: string;
  readonly backup: BackupSource;
  private kept: Promise<PostgresClient> | undefined;
  private readonly turns = new Turns();
  private readonly commands: ReplicationCommands;
  private readonly objects: OwnObjects;
  private adopted = false;

  constructor(private readonly parts: WorkloadDeskParts) {
    const { workload } = parts;
    this.name = workload.name;
    this.backup = new BackupSource({
      dataDirectory: workload.dataDirectory,
      connect: () => openConnection(workload),
    });
    const settings = new ServerSettings(workload, parts.settings);
    this.objects = new OwnObjects(parts.made);
    this.commands = new ReplicationCommands(workload, settings, this.objects, () => this.client());
  }

  /** Runs a command once those before it are through. @throws WorkloadUnreachableError when the server hangs. */
  inTurn<T>(work: (commands: ReplicationCommands) => Promise<T>): Promise<T> {
    return this.turns.take(() =>
      this.bounded(async () => {
        await this.adopt();
        return work(this.commands);
      }),
    );
  }

  /** @param names of a protection that exists; those that the tunnel knows when left out. */
  async preflight(supportedMajors: readonly number[], names: ReplicationNames | null) {
    const known = names ?? (await this.parts.protection.read())?.names ?? null;
    const report = await this.bounded(() =>
      runPreflight(this.parts.workload, { supportedMajors, names: known }, () => this.client()),
    );
    if (report.server) await this.noteBaseline(report.server.tablespaces.map(({ location }) => location));
    return report;
  }

  /** What goes out with the pulses: none when the workload is not protected, or does not answer (the pulse says so). */
  async surveil() {
    const protection = await this.parts.protection.read();
    if (!protection) return [];
    const baseline = (await this.parts.baseline.read()) ?? { tablespaces: [] };
    return this.bounded(async () => surveil(this.parts.workload, await this.client(), protection.names, baseline));
  }

  async noteBaseline(tablespaces: readonly string[]): Promise<void> {
    const known = await this.parts.baseline.read();
    if (JSON.stringify(known?.tablespaces) !== JSON.stringify(tablespaces)) {
      await this.parts.baseline.write({ tablespaces: [...tablespaces] });
    }
  }

  async close(): Promise<void> {
    await this.backup.close();
    await end(this.kept);
  }

  /** Before the first command, which would make a record of its own: the server is known to answer only then. */
  private async adopt(): Promise<void> {
    if (this.adopted) return;
    const protection = await this.parts.protection.read();
    if (protection) await this.objects.adopt(await this.client(), protection.names);
    this.adopted = true;
  }

  /** Two that ask at once get the same one. */
  private client(): Promise<PostgresClient> {
    if (this.kept) return this.kept;
    const opening = openConnection(this.parts.workload, { statementTimeoutMs: COMMAND_MS });
    this.kept = opening;
    const forget = () => {
      if (this.kept === opening) this.kept = undefined;
    };
    opening.then((client) => {
      client.once('end', forget);
      client.once('error', forget);
    }, forget);
    return opening;
  }

  private async bounded<T>(work: () => Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        const { kept } = this;
        this.kept = undefined;
        void end(kept);
        reject(new WorkloadUnreachableError(this.name, new Error(`no answer within ${COMMAND_MS} ms`)));
      }, COMMAND_MS);
    });
    try {
      return await Promise.race([work(), late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

async function end(kept: Promise<PostgresClient> | undefined): Promise<void> {
  // What could not be opened, or is broken already, needs no goodbye.
  await kept?.then((client) => client.end()).catch(() => undefined);
}
