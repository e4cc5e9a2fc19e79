import pg from 'pg';
import type { Logger } from '#libs/platform/telemetry';

/**
 * Listens on PostgreSQL notification channels with a connection of its own, redialled after a second when it is lost.
 * A notification only says "look": whoever listens also looks from time to time, since one may be missed.
 */
export class Listener {
  private client: pg.Client | undefined;
  private closed = false;
  private retry: NodeJS.Timeout | undefined;

  constructor(
    private readonly url: string,
    private readonly channels: readonly string[],
    private readonly heard: (channel: string, payload: string) => void,
    private readonly log: Logger,
  ) {}

  async start(): Promise<void> {
    const client = new pg.Client({ connectionString: this.url, application_name: 'mainstay listen', keepAlive: true });
    client.on('notification', (message) => this.heard(message.channel, message.payload ?? ''));
    client.on('error', () => this.lost(client));
    client.on('end', () => this.lost(client));
    this.client = client;
    try {
      await client.connect();
      for (const channel of this.channels) await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`);
      for (const channel of this.channels) this.heard(channel, '');
    } catch (error) {
      this.log.warn({ err: error }, 'cannot listen for notifications; trying again');
      this.lost(client);
    }
  }

  private lost(client: pg.Client): void {
    if (this.closed || this.client !== client) return;
    this.client = undefined;
    client.end().catch((error: unknown) => this.log.debug({ err: error }, 'closing a lost listener'));
    this.retry = setTimeout(() => void this.start(), 1_000);
  }

  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.retry);
    const client = this.client;
    this.client = undefined;
    await client?.end();
  }
}
