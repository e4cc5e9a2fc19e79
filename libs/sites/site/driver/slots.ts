import { waitFor } from '#libs/platform/clock';
import { errorCode } from '#libs/platform/errors';
import type { PostgresClient } from '#libs/platform/postgres';

const DUPLICATE_OBJECT = '42710';
const OBJECT_IN_USE = '55006';
const UNDEFINED_OBJECT = '42704';

/** A physical slot that reserves WAL at once; works on a standby. */
export async function createPhysicalSlot(client: PostgresClient, name: string): Promise<void> {
  const { rows } = await client.query('SELECT 1 FROM pg_replication_slots WHERE slot_name = $1', [name]);
  if (rows.length > 0) return;
  await client.query('SELECT pg_create_physical_replication_slot($1, true)', [name]).catch((error: unknown) => {
    if (errorCode(error) !== DUPLICATE_OBJECT) throw error;
  });
}

/** Ends the connection that uses the slot, which would come back at once: so drop and end in turns. */
export async function dropPhysicalSlot(client: PostgresClient, name: string): Promise<void> {
  const drop = async () => {
    await client.query(
      'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NOT NULL',
      [name],
    );
    try {
      await client.query('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1', [
        name,
      ]);
      return true;
    } catch (error) {
      const code = errorCode(error);
      if (code === UNDEFINED_OBJECT) return true;
      if (code === OBJECT_IN_USE) return false;
      throw error;
    }
  };
  await waitFor('the slot to be free', drop, { timeoutMs: 10_000, everyMs: 20 });
}
