import { LoadClient, Packs, smallObject } from './client.js';
import type { LoadFigures, LoadPlan, LoadRepository, Visit } from './plan.js';

const ERRORS_TOLD = 5;
const INDEX_BYTES = 4_096;
const SNAPSHOT_BYTES = 300;
const LOCK_BYTES = 150;

/** Clients in a process apart from the server and from who measures, so that neither waits for the other. */
class Load {
  private readonly uploads: number[] = [];
  private readonly downloads: number[] = [];
  private readonly errors: string[] = [];
  private errorCount = 0;
  private requests = 0;
  private readonly visits: Iterator<Visit>;
  private readonly packs: Packs;

  constructor(private readonly plan: LoadPlan) {
    this.visits = plan.visits[Symbol.iterator]();
    this.packs = new Packs(plan.packBytes);
  }

  async run(): Promise<LoadFigures> {
    const began = performance.now();
    await Promise.all(Array.from({ length: this.plan.clients }, () => this.client()));
    const { uploads, downloads, errors, errorCount, requests } = this;
    return { seconds: (performance.now() - began) / 1_000, requests, uploads, downloads, errorCount, errors };
  }

  private async client(): Promise<void> {
    const client = new LoadClient();
    for (let next = this.visits.next(); !next.done; next = this.visits.next()) {
      const at = this.plan.repositories[next.value.repository] as LoadRepository;
      await this.visit(client, at, next.value.act).catch((error: unknown) => {
        this.errorCount += 1;
        if (this.errors.length < ERRORS_TOLD) this.errors.push(String(error));
      });
    }
    this.requests += client.requests;
    client.close();
  }

  private async visit(client: LoadClient, at: LoadRepository, act: Visit['act']): Promise<void> {
    if (act.kind === 'open') return client.make(at);
    if (act.kind === 'packs') {
      const sent = [];
      for (let pack = 0; pack < act.packs; pack += 1) sent.push(await this.upload(client, at));
      for (const object of sent) this.downloads.push(await timed(() => client.read(at, 'data', object)));
      return;
    }
    const lock = smallObject(LOCK_BYTES);
    await client.config(at);
    await client.list(at, 'locks');
    await client.store(at, 'locks', lock);
    for (const type of ['index', 'snapshots']) await client.list(at, type);
    for (let pack = 0; pack < act.packs; pack += 1) await this.upload(client, at);
    await client.store(at, 'index', smallObject(INDEX_BYTES));
    await client.store(at, 'snapshots', smallObject(SNAPSHOT_BYTES));
    await client.remove(at, 'locks', lock);
  }

  private async upload(client: LoadClient, at: LoadRepository): Promise<ReturnType<Packs['next']>> {
    const pack = this.packs.next();
    this.uploads.push(await timed(() => client.store(at, 'data', pack)));
    return pack;
  }
}

/** @returns milliseconds. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

process.once('message', (plan: LoadPlan) => {
  void new Load(plan).run().then((figures) => process.send?.(figures, () => process.disconnect()));
});
