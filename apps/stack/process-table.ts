import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { Turns, waitFor } from '#libs/platform/clock';
import { ifPresent } from '#libs/platform/errors';
import { signalProcess } from '#libs/platform/postgres';

const entry = z.strictObject({ name: z.string(), pid: z.number().int().positive(), startedAt: z.string() });
const table = z.array(entry);
export type ProcessEntry = z.infer<typeof entry>;

/**
 * When a process began, as the kernel says it, in a form that only the same process has: a pid alone may have been
 * given to another one since. Undefined when there is no such process.
 */
export async function processStart(pid: number): Promise<string | undefined> {
  // A process that has ended, also while it was read, or a system without /proc: the signal tells them apart.
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (stat === undefined) return signalProcess(pid, 0) ? 'running' : undefined;
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // Field 3 is the state (Z is a process that has ended), field 22 its start in clock ticks since boot (proc(5)).
  return fields[0] === 'Z' ? undefined : fields[19];
}

/** The processes of an installation, on disk, so that the next start finds what a kill -9 left behind. */
export class ProcessTable {
  private entries: ProcessEntry[] = [];
  private readonly turns = new Turns();

  constructor(private readonly file: string) {}

  /** What an earlier start left running, by name and still the same process. */
  async leftBehind(): Promise<ProcessEntry[]> {
    const text = (await ifPresent(readFile(this.file, 'utf8'))) ?? '[]';
    let parsed: ProcessEntry[];
    try {
      parsed = table.parse(JSON.parse(text));
    } catch {
      // Written half when the machine lost power: then nothing of it runs any more.
      return [];
    }
    const alive = await Promise.all(
      parsed.map(async (known) => ((await processStart(known.pid)) === known.startedAt ? [known] : [])),
    );
    return alive.flat();
  }

  async add(name: string, pid: number): Promise<void> {
    const startedAt = await processStart(pid);
    if (startedAt === undefined) return;
    this.entries = [...this.entries.filter((known) => known.name !== name), { name, pid, startedAt }];
    await this.save();
  }

  private save(): Promise<void> {
    const text = JSON.stringify(this.entries);
    return this.turns.take(async () => {
      await writeFile(`${this.file}.half`, text, { mode: 0o600 });
      await rename(`${this.file}.half`, this.file);
    });
  }
}

/** Ends a process of ours: asks first, and kills it when it has not gone after `patienceMs`. */
export async function endProcess(known: ProcessEntry, patienceMs: number): Promise<void> {
  const gone = async (): Promise<boolean> => (await processStart(known.pid)) !== known.startedAt;
  if (await gone()) return;
  signalProcess(known.pid, 'SIGTERM');
  // All that can fail is the patience.
  const left = await waitFor('the process to end', gone, { timeoutMs: patienceMs }).catch(() => false);
  if (left) return;
  signalProcess(known.pid, 'SIGKILL');
  await waitFor(`process ${known.name} (${known.pid}) to be gone`, gone, { timeoutMs: 10_000 });
}
