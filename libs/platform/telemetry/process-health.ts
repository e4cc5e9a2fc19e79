import { errorText } from '#libs/platform/errors';

/** A check that takes longer counts as failed. */
const PATIENCE_MS = 2_000;

/** What a process needs in order to do its work, asked whenever somebody wants to know whether it is ready. */
export class ProcessHealth {
  private readonly checks = new Map<string, () => Promise<unknown>>();
  private started = false;

  /** @param check rejects while the process cannot work for want of it */
  needs(name: string, check: () => Promise<unknown>): void {
    this.checks.set(name, check);
  }

  /** All of it has begun. */
  begins(): void {
    this.started = true;
  }

  /** It was told to stop: it wants no new work. */
  ends(): void {
    this.started = false;
  }

  /** What stands in the way, by name with a reason for our own eyes; empty when the process is ready. */
  async obstacles(): Promise<Readonly<Record<string, string>>> {
    if (!this.started) return { process: 'starting or stopping' };
    const answers = await Promise.all([...this.checks].map(async ([name, check]) => [name, await failure(check)]));
    return Object.fromEntries(answers.filter(([, reason]) => reason !== undefined)) as Record<string, string>;
  }
}

async function failure(check: () => Promise<unknown>): Promise<string | undefined> {
  const late = Promise.withResolvers<string>();
  const timer = setTimeout(() => late.resolve(`no answer within ${PATIENCE_MS / 1_000} s`), PATIENCE_MS);
  const answer = check().then(
    () => undefined,
    (error: unknown) => errorText(error),
  );
  const reason = await Promise.race([answer, late.promise]);
  clearTimeout(timer);
  return reason;
}
