import type { RunEvent } from '#contracts/failover';
import { waitFor } from '#libs/platform/clock';

/** Reads server-sent events until the server ends them. */
export class EventStream {
  readonly events: { id: string; data: RunEvent }[] = [];
  readonly ended: Promise<void>;

  constructor(url: string, token: string, last?: string) {
    this.ended = this.read(url, {
      authorization: `Bearer ${token}`,
      ...(last === undefined ? {} : { 'last-event-id': last }),
    });
  }

  private async read(url: string, headers: Record<string, string>): Promise<void> {
    const response = await fetch(url, { headers });
    if (!response.body || response.status !== 200) throw new Error(`the stream answered ${response.status}`);
    let text = '';
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
      text += part;
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) this.take(block);
    }
  }

  private take(block: string): void {
    const field = (name: string): string => new RegExp(`^${name}: (.*)$`, 'm').exec(block)?.[1] ?? '';
    if (field('event') === 'run') this.events.push({ id: field('id'), data: JSON.parse(field('data')) as RunEvent });
  }

  until(count: number): Promise<unknown> {
    return waitFor(`${count} events`, () => this.events.length >= count, { timeoutMs: 10_000, everyMs: 5 });
  }
}
