import { connect as connectSocket } from 'node:net';
import { EmbeddedDatabase } from './embedded-database.js';
import { entryPoint } from './entry-points.js';
import { type EnvironmentOptions, StackEnvironment } from './environment.js';
import { Installation, InstallationError, SITE_KEYS, type SiteKey } from './installation.js';
import { ensureKeys, type StackKeys } from './keys.js';
import { MetricsTargets } from './metrics-targets.js';
import { Mailbox } from './mailbox.js';
import { stopServersBelow } from './postgres-servers.js';
import { endProcess, ProcessTable, processStart } from './process-table.js';
import { type AdvertiseGateway, ensureFirstAdministrator, ensureSites } from './registration.js';
import { SupervisedProcess, type ProcessSpec } from './supervisor.js';

export interface StackOptions extends Partial<EnvironmentOptions> {
  /** The installation's folder; `.mainstay` in the current one when left out. */
  readonly home: string;
  /** Of a new installation: see {@link Installation.open}. Those that start at the same moment must not want the same one. */
  readonly apiPort?: number;
  /** Tells each stage as it begins. */
  readonly tell?: (stage: string) => void;
  /**
   * Answers the port that agents and peers are told instead of the gateway's own, when something of the caller's
   * stands before it: tests put a proxy there that drops packets.
   */
  readonly advertiseGateway?: AdvertiseGateway;
}

export type StackProcess = 'api' | 'worker' | `site ${SiteKey}` | `link ${SiteKey}`;

/** All of them: what {@link StackProcess} names. */
const PROCESSES = [
  'api',
  'worker',
  'site metro',
  'link metro',
  'site regional',
  'link regional',
] as const satisfies readonly StackProcess[];

const START_MS = 60_000;

const answersOn = (target: { path: string } | { host: string; port: number }): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connectSocket(target as never);
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(1_000, () => end(false));
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });

/** All of Mainstay on one machine: embedded PostgreSQL, api, worker, and two warm sites of two processes each. */
export class Stack {
  private readonly processes = new Map<StackProcess, SupervisedProcess>();

  private constructor(
    readonly installation: Installation,
    readonly database: EmbeddedDatabase,
    readonly mailbox: Mailbox,
    readonly table: ProcessTable,
    private readonly keys: StackKeys,
    private readonly options: StackOptions,
    /** Where each process serves its figures and its health. */
    readonly metrics: MetricsTargets,
  ) {}

  /**
   * Starts everything and returns once it serves. What an earlier start left behind is taken over (the databases) or
   * ended (processes of ours).
   *
   * @throws InstallationError when another stack runs in the same folder; ProcessStartError with the end of the log.
   */
  static async start(options: StackOptions): Promise<Stack> {
    const tell = options.tell ?? (() => undefined);
    const installation = await Installation.open(options.home, options.apiPort);
    const table = await takeOver(installation, tell);
    await installation.ensureSocketDirectory();
    const keys = await ensureKeys(installation);
    const database = await EmbeddedDatabase.at(installation);
    const mailbox = new Mailbox(installation.file('mailbox'));
    const stack = new Stack(
      installation,
      database,
      mailbox,
      table,
      keys,
      options,
      await MetricsTargets.choose(PROCESSES),
    );
    try {
      await stack.bringUp(tell);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  private async bringUp(tell: (stage: string) => void): Promise<void> {
    const { installation, options } = this;
    tell(installation.isNew ? 'making the databases' : 'starting the database');
    await Promise.all([this.database.start(), this.mailbox.listen(installation.record.smtpPort)]);
    await this.database.provision();
    tell('starting api, worker and two warm sites');
    const environment = new StackEnvironment(installation, this.database, this.keys, {
      logLevel: options.logLevel ?? 'info',
      ...(options.queueUrl === undefined ? {} : { queueUrl: options.queueUrl }),
      ...(options.otlpEndpoint === undefined ? {} : { otlpEndpoint: options.otlpEndpoint }),
    });
    await this.metrics.write(this.metricsFile);
    for (const spec of this.specs(environment)) {
      const supervised = new SupervisedProcess(spec, installation.file('logs'), this.table);
      this.processes.set(spec.name as StackProcess, supervised);
      supervised.start();
    }
    if (!installation.record.complete) await ensureFirstAdministrator(installation, environment);
    await Promise.all([...this.processes.values()].map((supervised) => supervised.ready(START_MS)));
    await ensureSites(installation, this.keys, options.advertiseGateway);
    if (!installation.record.complete) await installation.markComplete();
  }

  /** The file that tells Prometheus where the processes are (`file_sd_configs`). */
  get metricsFile(): string {
    return this.installation.file('prometheus-targets.json');
  }

  private specs(environment: StackEnvironment): ProcessSpec[] {
    const { record, apiUrl } = this.installation;
    const sites = SITE_KEYS.flatMap((key): ProcessSpec[] => [
      {
        name: `link ${key}`,
        entry: entryPoint('link'),
        environment: environment.link(key),
        ready: () => answersOn({ path: environment.socket(`link-${key}`) }),
      },
      {
        name: `site ${key}`,
        entry: entryPoint('site'),
        environment: environment.siteJobs(key),
        ready: () => answersOn({ host: '127.0.0.1', port: record.sites[key].orderPort }),
      },
    ]);
    const healthy = async (): Promise<boolean> => (await fetch(`${apiUrl}/health/ready`)).ok;
    const specs: ProcessSpec[] = [
      { name: 'api', entry: entryPoint('api'), environment: environment.api(), ready: healthy },
      {
        name: 'worker',
        entry: entryPoint('worker'),
        environment: environment.worker(),
        ready: () => this.metrics.ready('worker'),
      },
      ...sites,
    ];
    return specs.map((spec) => ({
      ...spec,
      environment: { ...spec.environment, ...this.metrics.environment(spec.name) },
    }));
  }

  process(name: StackProcess): SupervisedProcess {
    const supervised = this.processes.get(name);
    if (!supervised) throw new Error(`the stack has no process ${name}`);
    return supervised;
  }

  get apiUrl(): string {
    return this.installation.apiUrl;
  }

  /** Stops everything in an order in which nothing waits for what is gone, the standbys with it. */
  async stop(): Promise<void> {
    const stopping = (...names: StackProcess[]): Promise<unknown> =>
      Promise.all(names.flatMap((name) => this.processes.get(name)?.stop() ?? []));
    await stopping('api', 'worker');
    await stopping('site metro', 'site regional');
    await stopping('link metro', 'link regional');
    await Promise.all(SITE_KEYS.map((key) => stopServersBelow(this.installation.file(`site-${key}`))));
    await this.mailbox.close();
    await this.database.stop();
  }
}

/** Ends the processes of an earlier start that nobody supervises any more. @throws InstallationError when one does. */
async function takeOver(installation: Installation, tell: (stage: string) => void): Promise<ProcessTable> {
  const table = new ProcessTable(installation.secretFile('processes.json'));
  const left = await table.leftBehind();
  const other = left.find(({ name }) => name === 'stack');
  if (other) {
    throw new InstallationError(
      `Mainstay already runs in ${installation.home} (process ${other.pid}). Stop it with Ctrl-C there, or give another folder with --home.`,
    );
  }
  if (left.length > 0) tell(`ending ${left.length} processes that an earlier start left behind`);
  await Promise.all(left.map((known) => endProcess(known, 5_000)));
  if ((await processStart(process.pid)) !== undefined) await table.add('stack', process.pid);
  return table;
}
