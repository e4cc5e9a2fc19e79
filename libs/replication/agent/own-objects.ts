import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { quoteIdentifier, quoteLiteral, scramVerifier, type PostgresClient } from '#libs/platform/postgres';
import type { DurableValue } from '#libs/sites/agent';
import { ReplicationRefusedError } from './errors.js';

/** The roles and slots that this agent has made in the server, or was about to make when it was last cut off. */
export const madeRecord = z.strictObject({ roles: z.array(z.string()), slots: z.array(z.string()) });
export type MadeRecord = z.infer<typeof madeRecord>;

/** Streaming, a retry beside a connection that is not gone yet, and the other kind for a look. */
const ROLE_CONNECTIONS = 6;
const SLOT_FREE_MS = 5_000;

/**
 * The agent's own roles and slots in the agency's server. One that is there already is changed or dropped only if the
 * agent has written down, before it made it, that it is its own: whatever a site says, nothing else is touched.
 */
export class OwnObjects {
  constructor(private readonly record: DurableValue<MadeRecord>) {}

  /** Makes the role, or gives the agent's own a new password. @throws ReplicationRefusedError */
  async ensureRole(client: PostgresClient, role: string, password: string): Promise<void> {
    const name = quoteIdentifier(role);
    const present = await this.roleIn(client, role);
    if (!present) await this.note('roles', role);
    await client.query(
      `${present ? 'ALTER' : 'CREATE'} ROLE ${name} LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT
       CONNECTION LIMIT ${ROLE_CONNECTIONS} PASSWORD ${quoteLiteral(scramVerifier(password))}`,
    );
    // A statement_timeout that the agency gives to all roles must not cut streaming short.
    await client.query(`ALTER ROLE ${name} SET statement_timeout = 0`);
  }

  /** @returns from where the slot keeps the log. @throws ReplicationRefusedError */
  async ensureSlot(client: PostgresClient, slot: string, fresh: boolean): Promise<string | null> {
    const present = await this.slotIn(client, slot);
    // A lost slot keeps nothing any more: its site has to be seeded anew, from a new one.
    if (present && !fresh && present.walStatus !== 'lost') return present.restart;
    if (present) await this.dropSlot(client, slot);
    await this.note('slots', slot);
    await client.query('SELECT pg_create_physical_replication_slot($1, true)', [slot]);
    return (await this.slotIn(client, slot))?.restart ?? null;
  }

  /** Whoever uses it is cut off. Nothing to do when it is not there. @throws ReplicationRefusedError */
  async dropSlot(client: PostgresClient, slot: string): Promise<void> {
    if (!(await this.slotIn(client, slot))) return this.forget('slots', slot);
    const dropped = async () => {
      const present = await this.slotIn(client, slot);
      if (!present) return true;
      if (present.pid !== null) await client.query('SELECT pg_terminate_backend($1)', [present.pid]);
      else await client.query('SELECT pg_drop_replication_slot($1)', [slot]);
      return false;
    };
    await waitFor('the replication slot to be free', dropped, { timeoutMs: SLOT_FREE_MS, everyMs: 50 });
    await this.forget('slots', slot);
  }

  /** Its sessions are ended. Nothing to do when it is not there. @throws ReplicationRefusedError */
  async dropRole(client: PostgresClient, role: string): Promise<void> {
    if (await this.roleIn(client, role)) {
      await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role]);
      await client.query(`DROP ROLE ${quoteIdentifier(role)}`);
    }
    await this.forget('roles', role);
  }

  private async roleIn(client: PostgresClient, role: string): Promise<boolean> {
    const { rows } = await client.query<{ super: boolean }>(
      'SELECT rolsuper AS super FROM pg_roles WHERE rolname = $1',
      [role],
    );
    const [present] = rows;
    if (!present) return false;
    if (present.super) {
      throw new ReplicationRefusedError(
        'role-superuser',
        `The role "${role}" is a superuser. The agent never changes or drops one: ALTER ROLE ${quoteIdentifier(role)} NOSUPERUSER, if it is Mainstay's.`,
      );
    }
    if (!(await this.made('roles', role))) throw notOurs('role', role, `DROP ROLE ${quoteIdentifier(role)};`);
    return true;
  }

  private async slotIn(client: PostgresClient, slot: string) {
    const { rows } = await client.query<{
      physical: boolean;
      walStatus: string | null;
      restart: string | null;
      pid: number | null;
    }>(
      `SELECT slot_type = 'physical' AS physical, wal_status AS "walStatus", restart_lsn::text AS restart,
              active_pid AS pid
         FROM pg_replication_slots WHERE slot_name = $1`,
      [slot],
    );
    const [present] = rows;
    if (present && !(present.physical && (await this.made('slots', slot)))) {
      throw notOurs('slot', slot, `SELECT pg_drop_replication_slot(${quoteLiteral(slot)});`);
    }
    return present;
  }

  private async made(kind: keyof MadeRecord, name: string): Promise<boolean> {
    return (await this.record.read())?.[kind].includes(name) ?? false;
  }

  /** Before it is made: one that was made and not written down could never be removed again. */
  private async note(kind: keyof MadeRecord, name: string): Promise<void> {
    const known = (await this.record.read()) ?? { roles: [], slots: [] };
    if (!known[kind].includes(name)) await this.record.write({ ...known, [kind]: [...known[kind], name] });
  }

  private async forget(kind: keyof MadeRecord, name: string): Promise<void> {
    const known = await this.record.read();
    if (!known?.[kind].includes(name)) return;
    await this.record.write({ ...known, [kind]: known[kind].filter((each) => each !== name) });
  }
}

function notOurs(what: 'role' | 'slot', name: string, remove: string): ReplicationRefusedError {
  return new ReplicationRefusedError(
    `${what}-not-ours`,
    `The server has a ${what} "${name}" that this agent has no record of making, so it does not touch it. If it was left by an earlier agent of Mainstay on this machine, remove it: ${remove}`,
  );
}
