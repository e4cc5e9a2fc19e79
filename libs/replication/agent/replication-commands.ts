import type { ReplicationNames, ServerFacts } from '#contracts/replication';
import type { SiteRole } from '#contracts/sites';
import { errorText } from '#libs/platform/errors';
import { newPassword, withClient, type PostgresClient } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { ReplicationRefusedError } from './errors.js';
import { requireOurNames } from './own-names.js';
import type { OwnObjects } from './own-objects.js';
import type { ServerSettings } from './server-settings.js';
import { readServerFacts } from './server-facts.js';

interface SitePart {
  readonly slot: string;
  readonly role: string;
}

function partOf(role: SiteRole, names: ReplicationNames): SitePart {
  return role === 'metro'
    ? { slot: names.metroSlot, role: names.metroRole }
    : { slot: names.regionalSlot, role: names.regionalRole };
}

/**
 * What a site may make, change and remove in the agency's server. Every command may be repeated, and a command that was
 * cut off at any point is completed by its repetition. None waits for a site to acknowledge (see the session's
 * settings in connection.ts).
 */
export class ReplicationCommands {
  constructor(
    private readonly workload: PostgresWorkload,
    private readonly settings: ServerSettings,
    private readonly objects: OwnObjects,
    /** One superuser's connection, kept open by the caller. */
    private readonly client: () => Promise<PostgresClient>,
  ) {}

  /**
   * Makes the site's role, with a new password, and its slot, and tries both out the way the site will come in. The
   * password is answered and kept nowhere; the server sees its verifier only.
   *
   * @throws ReplicationRefusedError when the server would not let the site in, or role or slot are not the agent's own.
   */
  async prepare(
    role: SiteRole,
    names: ReplicationNames,
    freshSlot: boolean,
  ): Promise<{ user: string; password: string; server: ServerFacts; slotRestartLsn: string | null }> {
    requireOurNames(names);
    const client = await this.client();
    const part = partOf(role, names);
    const password = newPassword();
    await this.settings.ensureSlotLimit(client);
    await this.objects.ensureRole(client, part.role, password);
    const slotRestartLsn = await this.objects.ensureSlot(client, part.slot, freshSlot);
    await this.tryOut(part.role, password);
    return { user: part.role, password, server: await readServerFacts(this.workload, client), slotRestartLsn };
  }

  /** @throws ReplicationRefusedError when the metro does not stream: every commit would stand still at once. */
  async arm(names: ReplicationNames): Promise<void> {
    requireOurNames(names);
    const client = await this.client();
    const { rows } = await client.query<{ state: string }>(
      `SELECT r.state FROM pg_replication_slots s JOIN pg_stat_replication r ON r.pid = s.active_pid
       WHERE s.slot_name = $1 AND r.application_name = $2`,
      [names.metroSlot, names.metroApplication],
    );
    if (rows[0]?.state !== 'streaming') {
      throw new ReplicationRefusedError(
        'metro-not-streaming',
        'The metro site does not stream yet, so that arming would stop all writes. Arm once it does.',
        { detail: `walsender: ${rows[0]?.state ?? 'none'}` },
      );
    }
    await this.checkSynchronousCommit(client);
    await this.settings.ensureSlotLimit(client);
    await this.settings.listMetro(client, names);
  }

  async disarm(names: ReplicationNames): Promise<void> {
    requireOurNames(names);
    await this.settings.unlist(await this.client(), 'metro', names);
  }

  /** @returns the flushed position after the checkpoint. */
  async checkpoint(): Promise<string> {
    const client = await this.client();
    await client.query('CHECKPOINT');
    const { rows } = await client.query<{ lsn: string }>(
      `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text AS lsn`,
    );
    if (!rows[0]) throw new Error('the server gave no position');
    return rows[0].lsn;
  }

  /**
   * Removes what {@link prepare} and {@link arm} made; with the last of the two sites, the settings too.
   *
   * @throws ReplicationRefusedError for a role or slot that is not the agent's own.
   */
  async release(role: SiteRole, names: ReplicationNames): Promise<void> {
    requireOurNames(names);
    const client = await this.client();
    const part = partOf(role, names);
    await this.settings.unlist(client, role, names);
    await this.objects.dropSlot(client, part.slot);
    await this.objects.dropRole(client, part.role);
    const { rows } = await client.query<{ left: boolean }>(
      'SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = ANY ($1)) AS left',
      [[names.metroSlot, names.regionalSlot]],
    );
    if (!rows[0]?.left) await this.settings.restoreAll(client);
  }

  /** By TCP with the password, as a walreceiver comes through the tunnel: pg_hba.conf has the last word. */
  private async tryOut(user: string, password: string): Promise<void> {
    const { host, port } = this.workload;
    const options = { host, port, user, password, applicationName: 'mainstay-try-out', replication: 'true' } as const;
    try {
      await withClient(options, (client) => client.query('IDENTIFY_SYSTEM'));
    } catch (error) {
      throw new ReplicationRefusedError(
        'hba-refused',
        `The server does not let the site's role in for replication. Add this line to pg_hba.conf, above any that refuses it, and reload: ` +
          `host replication all ${host.includes(':') ? '::1/128' : '127.0.0.1/32'} scram-sha-256`,
        { detail: errorText(error) },
      );
    }
  }

  private async checkSynchronousCommit(client: PostgresClient): Promise<void> {
    const { rows } = await client.query<{ value: string; source: string }>(
      // The session's own value is the agent's; what others begin with is the reset value's source.
      `SELECT reset_val AS value, source FROM pg_settings WHERE name = 'synchronous_commit'`,
    );
    const value = rows[0]?.value ?? 'on';
    if (value === 'on' || value === 'remote_apply') return;
    throw new ReplicationRefusedError(
      'synchronous-commit-off',
      `synchronous_commit is "${value}" for the whole server, so that commits would not wait for the metro site. Set it: ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf();`,
    );
  }
}
