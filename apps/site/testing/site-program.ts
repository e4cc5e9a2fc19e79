import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { OrderContract, OutboxPage, ResultContract } from '#contracts/sites';
import { type CertificateText, createAuthority, createKeyPair, issueCertificate, signDocument } from '#libs/link';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { freePort, keptDirectory } from '#libs/platform/postgres';
import { createSiteDatabase, type SiteDatabase } from '#test/databases';

/** The built program, as a service starts it. */
const MAIN = path.resolve(import.meta.dirname, '../../../dist/apps/site/main.js');
const SOON = { timeoutMs: 55_000, everyMs: 100 };

/** A folder of settings, and who signs certificates. What a site needs before it is started. */
export class SiteGround {
  private constructor(
    readonly folder: string,
    readonly authority: CertificateText,
  ) {}

  static async lay(): Promise<SiteGround> {
    const folder = await mkdtemp(path.join(tmpdir(), 'mainstay-site-program-'));
    await keptDirectory(folder);
    return new SiteGround(folder, await createAuthority('test authority'));
  }

  at(name: string): string {
    return path.join(this.folder, name);
  }

  /** @returns the file's path */
  async file(name: string, text: string): Promise<string> {
    await writeFile(this.at(name), text, { mode: 0o600 });
    return this.at(name);
  }

  certificate(commonName: string, usage: 'server' | 'client'): Promise<CertificateText> {
    return issueCertificate(this.authority, { commonName, ipAddresses: ['127.0.0.1'], usages: [usage] });
  }

  remove(): Promise<void> {
    return rm(this.folder, { recursive: true, force: true });
  }
}

/** A site's process of its own with its settings in the environment, and the control plane's side of it. */
export class SiteProgram {
  readonly tenantId = randomUUID();
  private said = '';
  private numbers = 0;

  private constructor(
    private readonly siteId: string,
    private readonly database: SiteDatabase,
    private readonly client: CertificateText,
    private readonly authority: string,
    private readonly signing: { readonly privateKey: string },
    private readonly port: number,
    private readonly child: ChildProcess,
  ) {
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (part: Buffer) => (this.said = (this.said + part.toString()).slice(-20_000)));
    }
  }

  static async start(ground: SiteGround, settings: Readonly<Record<string, string>>): Promise<SiteProgram> {
    const database = await createSiteDatabase();
    const [server, client] = [
      await ground.certificate('site', 'server'),
      await ground.certificate('control', 'client'),
    ];
    const signing = createKeyPair();
    const [siteId, port] = [randomUUID(), await freePort()];
    const child = spawn(process.execPath, [MAIN], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: childEnvironment({
        SITE_ID: siteId,
        SITE_NAME: 'test',
        SITE_DIRECTORY: ground.at('site'),
        SITE_DATABASE_URL: database.url,
        SITE_QUEUE_URL: database.queueUrl,
        LINK_SOCKET: ground.at('link.sock'),
        SITE_SOCKET: ground.at('site.sock'),
        FRONT_DOOR_HOST: '127.0.0.1',
        SITE_ORDER_HOST: '127.0.0.1',
        SITE_ORDER_PORT: String(port),
        SITE_TLS_CERT_FILE: await ground.file('orders.pem', server.certificate),
        SITE_TLS_KEY_FILE: await ground.file('orders.key', server.privateKey),
        CONTROL_CA_FILE: await ground.file('authority.pem', ground.authority.certificate),
        ORDER_PUBLIC_KEY_FILE: await ground.file('order-signing.pem', signing.publicKey),
        ...settings,
      }),
    });
    const { certificate } = ground.authority;
    const site = new SiteProgram(siteId, database, client, certificate, signing, port, child);
    await waitFor('the site to answer', () => site.answers(), SOON).catch(async (error: unknown) => {
      await site.stop();
      throw new Error(site.said, { cause: error });
    });
    return site;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const gone = once(this.child, 'exit');
      this.child.kill('SIGTERM');
      await gone;
    }
    await this.database.drop();
  }

  async order<P>(contract: OrderContract<P>, payload: P): Promise<void> {
    const content = {
      id: randomUUID() as string,
      siteId: this.siteId,
      number: (this.numbers += 1),
      kind: contract.kind,
      tenantId: this.tenantId,
      issuedAt: new Date().toISOString(),
      payload: payload as Record<string, unknown>,
    };
    const signature = signDocument(content, this.signing.privateKey);
    const { status, text } = await this.ask('POST', '/v1/orders', { ...content, signature });
    if (status >= 300) throw new Error(`the site answered ${status}: ${text}`);
  }

  /** The first result of a kind that fits. */
  async told<P>(contract: ResultContract<P>, fits: (payload: P) => boolean): Promise<P> {
    const look = async () => {
      const { text } = await this.ask('GET', '/v1/outbox?after=0&wait=0');
      const { results } = JSON.parse(text) as OutboxPage;
      return results
        .filter(({ kind }) => kind === contract.kind)
        .map(({ payload }) => payload as P)
        .find(fits);
    };
    return waitFor(contract.kind, look, SOON).catch((error: unknown) => {
      throw new Error(this.said.slice(-3_000), { cause: error });
    });
  }

  private answers(): Promise<boolean> {
    if (this.child.exitCode !== null) throw new Error(`the site has ended: ${this.said}`);
    return this.ask('GET', '/health').then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  private ask(method: string, pathname: string, body?: unknown): Promise<{ status: number; text: string }> {
    const { certificate, privateKey } = this.client;
    const identity = { ca: this.authority, cert: certificate, key: privateKey };
    const options = { host: '127.0.0.1', port: this.port, method, path: pathname, agent: false, ...identity };
    return new Promise((resolve, reject) => {
      const outgoing = request(options, (answer) => {
        let text = '';
        answer.on('data', (part: Buffer) => (text += part.toString()));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
        answer.on('error', reject);
      });
      outgoing.on('error', reject);
      outgoing.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}
