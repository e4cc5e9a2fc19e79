import { setTimeout as delay } from 'node:timers/promises';
import { waitFor } from '#libs/platform/clock';
import { errorText } from '#libs/platform/errors';
import { connect, withClient } from '#libs/platform/postgres';
import { AcknowledgedWriter, findLost } from '../sample/acknowledged-writer.js';
import { CLERK, DATABASE, type AgencyMachine } from '../sample/agency-machine.js';
import type { RunView } from '../sample/continuity-client.js';
import { buildMachine, type ProtectedAgency, protectAgency } from '../sample/protected-agency.js';
import type { Stack } from '../stack.js';
import { ArchiveChapters, type ArchiveResult } from './archive-chapters.js';
import { Traffic } from './traffic.js';

export interface StoryResult {
  readonly ok: boolean;
  readonly secondsToFirstWrite: number | null;
  readonly acknowledged: number;
  readonly lost: number;
  readonly regionalLagBytes: number | null;
  readonly fencedOldPrimary: boolean;
  readonly archive: ArchiveResult;
  readonly seconds: number;
}

export interface Chapter {
  readonly name: string;
  readonly seconds: number;
}

const TOWN = { name: 'Town of Cedar Crossing', contactName: 'Ruth Okafor', email: 'it@cedar-crossing.example' };
const FOLDER = 'demo-agency';
/** How long the old primary is begged to acknowledge a write before the agent has come back. */
const TEMPTATION_MS = 3_000;

/** The main job from sign-up to the fenced old primary, on real servers, with every invariant checked. */
export class Story {
  readonly chapters: Chapter[] = [];
  /** What did not hold; empty when all did. */
  readonly broken: string[] = [];
  machine: AgencyMachine | undefined;
  private readonly began = performance.now();
  private chapterBegan = performance.now();

  constructor(
    private readonly stack: Stack,
    private readonly tell: (line: string) => void,
  ) {}

  private chapter(name: string): void {
    const now = performance.now();
    this.chapters.push({ name, seconds: (now - this.chapterBegan) / 1000 });
    this.chapterBegan = now;
  }

  private check(holds: boolean, otherwise: string): void {
    if (!holds) this.broken.push(otherwise);
  }

  async play(): Promise<StoryResult> {
    this.machine = await buildMachine(this.stack, FOLDER);
    this.chapter('the agency’s own PostgreSQL');
    const agency = await protectAgency(this.stack, this.machine, { town: TOWN, folder: FOLDER, tell: this.tell });
    this.chapter('sign-up to armed at both sites');
    const archive = await ArchiveChapters.begin(agency, this.tell, (holds, otherwise) => this.check(holds, otherwise));
    this.chapter('file share and database archived');
    const traffic = new Traffic(this.machine, [{ host: '127.0.0.1', port: this.machine.port }, agency.frontDoor]);
    traffic.start();
    await traffic.more(100);
    this.chapter('writers at work');
    const restored = await archive.loseAFolder();
    this.chapter('a folder lost to a bad script, and back');
    const { run, secondsToFirstWrite } = await this.failOver(agency, traffic);
    await traffic.more(100);
    this.chapter('the same clients write on');
    await traffic.stop();
    const lost = await this.countLost(agency, traffic);
    const fencedOldPrimary = await this.returnOfTheOldPrimary(agency);
    this.chapter('the old primary comes back and is fenced');
    return {
      ok: this.broken.length === 0,
      secondsToFirstWrite,
      acknowledged: traffic.acknowledged,
      lost,
      regionalLagBytes: run.report?.otherSiteLagBytes ?? null,
      fencedOldPrimary,
      archive: restored,
      seconds: (performance.now() - this.began) / 1000,
    };
  }

  private async failOver(
    agency: ProtectedAgency,
    traffic: Traffic,
  ): Promise<{ run: RunView; secondsToFirstWrite: number | null }> {
    this.tell('the building floods: the agency’s PostgreSQL and agent are killed with -9');
    await agency.machine.destroy();
    this.chapter('the disaster');
    const preview = await agency.client.preview(agency.workloadId);
    this.tell(`preview: loss ${preview.loss.kind} (${preview.loss.why})`);
    const declared = performance.now();
    const { id } = await agency.client.declare(agency.workloadId, { reason: 'The town hall is flooded.' });
    this.tell('the failover is declared');
    const run = await agency.client.finished(id);
    this.check(run.state === 'completed', `the run ended ${run.state}`);
    this.check(run.report?.loss.kind === 'none', `the run says loss ${run.report?.loss.kind}: ${run.report?.loss.why}`);
    const first = await waitFor(
      'the first write accepted at the warm site',
      () => traffic.firstAcknowledgedAt(agency.frontDoor.port, declared),
      { timeoutMs: 30_000, everyMs: 10 },
    );
    this.chapter('declaration to first accepted write, and the run’s end');
    return { run, secondsToFirstWrite: (first - declared) / 1000 };
  }

  private async countLost(agency: ProtectedAgency, traffic: Traffic): Promise<number> {
    const lost = await withClient(agency.machine.clerk(agency.frontDoor.port), (client) =>
      findLost(client, traffic.writers),
    );
    this.check(lost.length === 0, `${lost.length} acknowledged writes are missing: ${lost.slice(0, 5).join(', ')}`);
    this.check(traffic.acknowledged > 0, 'no write was ever acknowledged, so nothing was shown');
    return lost.length;
  }

  /** First without its agent, which is the worst case, then with it. */
  private async returnOfTheOldPrimary(agency: ProtectedAgency): Promise<boolean> {
    const { machine } = agency;
    this.tell('the old primary is started again, without its agent');
    await machine.startServer();
    const tempter = new AcknowledgedWriter({
      addresses: [{ host: '127.0.0.1', port: machine.port }],
      user: CLERK,
      password: machine.record.clerkPassword,
      database: DATABASE,
      writer: 99,
    });
    tempter.start();
    await delay(TEMPTATION_MS);
    this.check(tempter.acknowledged.length === 0, 'the old primary acknowledged a write before its agent came back');
    this.tell('its agent comes back, learns of the higher epoch, and fences it');
    machine.agent.start();
    await waitFor('the old primary to be stopped', async () => !(await machine.server.isRunning()), {
      timeoutMs: 60_000,
    });
    await machine.startServer().catch((error: unknown) => this.tell(`started by hand it says: ${errorText(error)}`));
    const wrote = await this.writesAt(machine);
    this.check(!wrote, 'the fenced old primary took a write when it was started by hand');
    await tempter.stop();
    this.check(tempter.acknowledged.length === 0, 'the old primary acknowledged a write after the promotion');
    return !wrote && tempter.acknowledged.length === 0;
  }

  private async writesAt(machine: AgencyMachine): Promise<boolean> {
    try {
      const client = await connect(machine.clerk());
      try {
        await client.query(`INSERT INTO acknowledged_write (writer, id) VALUES (98, 1)`);
        return true;
      } finally {
        await client.end();
      }
    } catch (error) {
      this.tell(`a write at the old primary is refused: ${errorText(error)}`);
      return false;
    }
  }
}
