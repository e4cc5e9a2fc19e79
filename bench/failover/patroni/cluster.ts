import { mkdtemp, rm } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { waitFor } from '#libs/platform/clock';
import {
  connect,
  findPostgres,
  ownedDirectory,
  type PostgresInstallation,
  serverIdentity,
  withClient,
} from '#libs/platform/postgres';
import { type ClientAccount, Clients, fillDatabase } from '../clients.js';
import { SideMissingError } from '../side.js';
import { EtcdServer } from './etcd.js';
import { PatroniNode } from './node.js';
import { findProgram } from './program.js';

/** Seeding, and the old leader's return with pg_rewind, each wait for several of Patroni's loops of 10 s. */
const SETTLE_TIMEOUT_MS = 180_000;

/** Two machines under Patroni, with etcd. Which of them leads changes from round to round. */
export class PatroniCluster {
  private readonly account: ClientAccount = { user: 'clerk', password: secret(), database: 'postgres' };
  private readonly adminPassword = secret();
  private folder = '';
  private etcd: EtcdServer | undefined;
  private nodes: readonly PatroniNode[] = [];
  private started: Promise<void> | undefined;

  /** Safe to repeat. @throws SideMissingError when Patroni or etcd is not installed. */
  start(): Promise<void> {
    return (this.started ??= this.bringUp());
  }

  private async bringUp(): Promise<void> {
    const [patroni, etcd] = await Promise.all([findProgram('patroni'), findProgram('etcd')]);
    if (!patroni || !etcd) {
      const missing = [patroni ? [] : ['patroni'], etcd ? [] : ['etcd-server']].flat().join(' ');
      throw new SideMissingError(`not installed: apt-get install -y ${missing}`);
    }
    const [identity, installation] = [await serverIdentity(), await findPostgres()];
    this.folder = await ownedDirectory(await mkdtemp(path.join(tmpdir(), 'mainstay-patroni-')), identity);
    this.etcd = await EtcdServer.start(etcd, this.folder, identity);
    const options = { program: patroni, installation, identity, folder: this.folder, etcdPort: this.etcd.port };
    const make = (name: string) => PatroniNode.create(name, { ...options, adminPassword: this.adminPassword });
    const [first, second] = [await make('one'), await make('two')];
    this.nodes = [first, second];
    await first.start();
    await waitFor('Patroni to make its primary', async () => (await this.leaderOf(first)) === first.name, {
      timeoutMs: SETTLE_TIMEOUT_MS,
      everyMs: 100,
    });
    await this.fill(first, installation);
    await second.start();
    await this.settled();
  }

  /** Waits until one leads and the other streams from it without lag. */
  async settled(): Promise<{ leader: PatroniNode; replica: PatroniNode }> {
    for (const node of this.nodes) await node.start();
    return waitFor(
      'Patroni’s cluster to be whole',
      async () => {
        const seen = await Promise.all(this.nodes.map((node) => this.leaderOf(node)));
        const leader = this.nodes.find(({ name }) => seen.every((each) => each === name));
        const replica = this.nodes.find((node) => node !== leader);
        return leader && replica && (await this.follows(leader, replica)) ? { leader, replica } : undefined;
      },
      { timeoutMs: SETTLE_TIMEOUT_MS, everyMs: 200 },
    );
  }

  clients(leader: PatroniNode, replica: PatroniNode): Clients {
    return new Clients(
      this.account,
      [leader, replica].map(({ port }) => ({ host: '127.0.0.1', port })),
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.killAll()));
    await this.etcd?.kill9();
    if (this.folder !== '') await rm(this.folder, { recursive: true, force: true });
  }

  private async leaderOf(node: PatroniNode): Promise<string | undefined> {
    return (await node.members()).find(({ role, state }) => role === 'leader' && state === 'running')?.name;
  }

  private async follows(leader: PatroniNode, replica: PatroniNode): Promise<boolean> {
    const member = (await leader.members()).find(({ name }) => name === replica.name);
    if (member?.role !== 'replica' || member.lag !== 0) return false;
    return withClient(this.admin(leader), async (admin) => {
      const { rowCount } = await admin.query(
        `SELECT FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'`,
        [replica.name],
      );
      return rowCount === 1;
    });
  }

  private fill(node: PatroniNode, installation: PostgresInstallation): Promise<void> {
    const { adminPassword } = this;
    return withClient(this.admin(node), (admin) =>
      fillDatabase(admin, this.account, { binDirectory: installation.binDirectory, port: node.port, adminPassword }),
    );
  }

  private admin(node: PatroniNode): Parameters<typeof connect>[0] {
    const { database } = this.account;
    const login = { user: 'postgres', password: this.adminPassword, database, applicationName: 'bench' };
    return { host: '127.0.0.1', port: node.port, ...login };
  }
}

function secret(): string {
  return randomBytes(18).toString('base64url');
}
