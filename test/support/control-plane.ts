import type { INestApplicationContext, Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { WorkerEnvironment } from '../../apps/worker/worker.environment.js';
import { WorkerModule } from '../../apps/worker/worker.module.js';
import type { StandbyHealth } from '#contracts/replication';
import { type CertificateText, createAuthority, createKeyPair, issueCertificate, type KeyPairText } from '#libs/link';
import { preflightOrder, preflightResult, protectOrder } from '#contracts/replication';
import { waitFor } from '#libs/platform/clock';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { type Answered, type AnsweredBody, type TestAgency, TestApi } from './api.js';
import { ScriptedSite } from './scripted-site.js';

const WITHIN = { timeoutMs: 20_000, everyMs: 10 };

/** Where the two test sites pretend to be, and an agency near the first. */
export const PLACES = {
  metro: { latitude: 47.0379, longitude: -122.9007 },
  regional: { latitude: 47.4235, longitude: -120.3103 },
  agency: { latitude: 47.05, longitude: -122.88 },
} as const;

export interface EnrolledAgent {
  readonly id: string;
  readonly keys: KeyPairText;
}

export interface ProtectedWorkload {
  readonly agency: TestAgency;
  readonly agent: EnrolledAgent;
  readonly id: string;
  readonly names: ReturnType<typeof protectOrder.payload.parse>['names'];
}

/** API and worker on a real database, with two sites whose results a test decides. */
export class ControlPlane {
  private readonly workers: INestApplicationContext[] = [];

  private constructor(
    readonly api: TestApi,
    private readonly authority: CertificateText,
    private readonly tls: CertificateText,
    private readonly signing: KeyPairText,
    readonly metro: ScriptedSite,
    readonly regional: ScriptedSite,
    readonly staff: string,
  ) {}

  /** @param worker whether a worker runs in the test's own process. */
  static async start({ worker = true } = {}): Promise<ControlPlane> {
    const authority = await createAuthority('test authority');
    const tls = await issueCertificate(authority, { commonName: 'control', usages: ['client'] });
    const signing = createKeyPair();
    const [metro, regional] = await Promise.all([1, 2].map(() => ScriptedSite.start(authority, signing.publicKey)));
    const api = await TestApi.start({
      ORDER_SIGNING_KEY_FILE: signing.privateKey,
      CONTROL_TLS_CERT_FILE: tls.certificate,
      CONTROL_TLS_KEY_FILE: tls.privateKey,
      CONTROL_TLS_CA_FILE: authority.certificate,
    });
    const staff = await api.staff();
    const plane = new ControlPlane(api, authority, tls, signing, metro!, regional!, staff);
    await plane.register(plane.metro, 'Olympia metro', PLACES.metro, ['puget-sound-lowland']);
    await plane.register(plane.regional, 'Wenatchee regional', PLACES.regional, ['cascades-east']);
    if (worker) await plane.startWorker();
    return plane;
  }

  async register(
    site: ScriptedSite,
    name: string,
    place: { latitude: number; longitude: number },
    hazardZones: string[],
  ): Promise<Answered> {
    const endpoint = { host: '127.0.0.1', port: site.port, certificateFingerprint: site.fingerprint };
    return this.api.post(
      '/v1/staff/sites',
      {
        id: site.id,
        name,
        region: 'Washington',
        ...place,
        hazardZones,
        capacity: { cpus: 8, memoryBytes: 3.2e10, diskBytes: 1e12 },
        orderEndpoint: endpoint,
        gateway: { ...endpoint, port: 7443 },
        publicKey: site.keys.publicKey,
      },
      this.staff,
    );
  }

  async startWorker(): Promise<INestApplicationContext> {
    const module = WorkerModule.forProcess(this.workerEnvironment);
    const worker = await NestFactory.createApplicationContext(module, { bufferLogs: true, abortOnError: false });
    worker.useLogger(new NestLogger(worker.get(AppLogger).log));
    this.workers.push(worker);
    return worker;
  }

  /** A service of the first worker, to have it do at once what it does by the clock. */
  workerService<T>(type: Type<T>): T {
    const [worker] = this.workers;
    if (!worker) throw new Error('no worker runs');
    return worker.get(type, { strict: false });
  }

  /** A worker's settings; secrets are the text that their files have. */
  get workerEnvironment(): WorkerEnvironment {
    const { database } = this.api;
    return {
      TENANT_DATABASE_URL: database.tenantUrl,
      PROVIDER_DATABASE_URL: database.providerUrl,
      QUEUE_URL: database.queueUrl,
      // Nobody listens: mails wait in their table.
      SMTP_URL: 'smtp://127.0.0.1:9',
      MAIL_FROM: 'Mainstay <mainstay@provider.example>',
      PUBLIC_URL: 'http://mainstay.test',
      ORDER_SIGNING_KEY_FILE: this.signing.privateKey,
      CONTROL_TLS_CERT_FILE: this.tls.certificate,
      CONTROL_TLS_KEY_FILE: this.tls.privateKey,
      CONTROL_TLS_CA_FILE: this.authority.certificate,
      LOG_LEVEL: 'silent',
    };
  }

  async stopWorkers(): Promise<void> {
    await Promise.all(this.workers.splice(0).map((worker) => worker.close()));
  }

  async close(): Promise<void> {
    await this.stopWorkers();
    await this.api.close();
    await Promise.all([this.metro.cut(), this.regional.cut()]);
  }

  /** Asks until the answer fits. */
  async until(path: string, token: string, fits: (body: AnsweredBody) => boolean): Promise<AnsweredBody> {
    let last: unknown;
    try {
      return await waitFor(
        path,
        async () => {
          const { body } = await this.api.get(path, token);
          last = body;
          return fits(body) ? body : undefined;
        },
        WITHIN,
      );
    } catch (error) {
      throw new Error(`${path} answered last: ${JSON.stringify(last)}`, { cause: error });
    }
  }

  async enrol(agency: TestAgency): Promise<EnrolledAgent> {
    const made = await this.api.post(
      '/v1/enrolment-tokens',
      { name: 'town-hall', location: PLACES.agency },
      agency.apiKey,
    );
    const keys = createKeyPair();
    const enrolled = await this.api.post('/v1/agents/enrol', {
      token: made.body.token,
      publicKey: keys.publicKey,
      hostname: 'permits-db',
      version: '0.1.0',
    });
    if (enrolled.status !== 201) throw new Error(JSON.stringify(enrolled.body));
    return { id: enrolled.body.agentId, keys };
  }

  /** A workload whose preflight has passed. */
  async checkedWorkload(agency: TestAgency, agent: EnrolledAgent, name = 'permits'): Promise<string> {
    const made = await this.api.post('/v1/workloads', { name, agentId: agent.id }, agency.apiKey);
    if (made.status !== 201) throw new Error(JSON.stringify(made.body));
    const started = await this.api.post(`/v1/workloads/${made.body.id}/preflights`, undefined, agency.apiKey);
    await this.answerPreflight(agency, started.body.id, true);
    await this.until(
      `/v1/workloads/${made.body.id}/preflights/${started.body.id}`,
      agency.apiKey,
      (body) => body.state === 'passed',
    );
    return made.body.id;
  }

  /** Answers a preflight from whichever site was asked. */
  async answerPreflight(agency: TestAgency, preflightId: string, ok: boolean): Promise<void> {
    const finding = {
      code: 'wal.level-minimal',
      severity: 'blocker' as const,
      what: 'wal_level is minimal.',
      remedy: 'Set wal_level = replica and restart.',
    };
    await waitFor(
      'the preflight’s order',
      () => {
        for (const site of [this.metro, this.regional]) {
          const order = site.orders.find(
            (one) => one.kind === preflightOrder.kind && one.payload['preflightId'] === preflightId,
          );
          if (!order) continue;
          const report = { ok, findings: ok ? [] : [finding], server: null };
          site.say(preflightResult, { preflightId, report }, { tenantId: agency.id, orderId: order.id });
          return true;
        }
        return false;
      },
      WITHIN,
    );
  }

  /** A workload under protection at both sites, measured as armed unless told. */
  async protectedWorkload(mode: 'strict' | 'available' = 'strict', armed = true): Promise<ProtectedWorkload> {
    const agency = await this.api.agency();
    const agent = await this.enrol(agency);
    const id = await this.checkedWorkload(agency, agent);
    const made = await this.api.post(
      `/v1/workloads/${id}/protection`,
      { mode, clientNetworks: ['0.0.0.0/0', '::/0'] },
      agency.apiKey,
    );
    if (made.status !== 202) throw new Error(JSON.stringify(made.body));
    const { payload } = await this.metro.ordered(protectOrder, ({ workloadId }) => workloadId === id);
    const { names } = payload;
    this.measure(id, agency.id, armed);
    await this.until(
      `/v1/workloads/${id}/protection`,
      agency.apiKey,
      ({ metro, regional }) => metro.state === 'streaming' && regional.state === 'streaming',
    );
    return { agency, agent, id, names };
  }

  /** Has both sites measure a workload as streaming, with one of them as the synchronous site. */
  measure(workloadId: string, tenantId: string, armed: boolean, leader: 'metro' | 'regional' = 'metro'): void {
    const now = Date.now();
    const health = (role: 'metro' | 'regional', port: number): StandbyHealth => ({
      workloadId,
      tenantId,
      role,
      state: 'streaming',
      epoch: 1,
      sourceSeenAt: new Date(now).toISOString(),
      sourceLsn: '0/5000060',
      receivedLsn: '0/5000060',
      replayedLsn: '0/5000060',
      timeline: 1,
      bytesBehind: 0,
      secondsBehind: 0,
      armed: role === leader ? armed : null,
      synchronousSite: leader,
      armedSince: role === leader && armed ? new Date(now).toISOString() : null,
      armedUntil: role === leader && armed ? new Date(now + 3_600_000).toISOString() : null,
      asynchronousSinceLsn: null,
      seeding: null,
      alarms: [],
      frontDoor: { host: '127.0.0.1', port, leadsTo: 'production' },
    });
    for (const [site, role, port] of [
      [this.metro, 'metro', 24_000] as const,
      [this.regional, 'regional', 25_000] as const,
    ]) {
      site.workloads = [...site.workloads.filter((one) => one.workloadId !== workloadId), health(role, port)];
      site.show();
    }
  }
}
