import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Orders one after another by workload, results numbered in the order they became visible, and what the link keeps. */
export class SitePlumbing1790000000002 implements MigrationInterface {
  name = 'SitePlumbing1790000000002';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      ALTER TABLE site_order
        ADD COLUMN work_key text NOT NULL DEFAULT '',
        ADD COLUMN content_hash text NOT NULL DEFAULT '',
        ADD COLUMN next_attempt_at timestamptz,
        ADD COLUMN claimed_by uuid,
        ADD COLUMN claimed_until timestamptz;
      CREATE INDEX site_order_open_by_key ON site_order (work_key, number) WHERE state = 'received';

      -- Identity values are taken before the commit, so a reader that follows them would skip a slower transaction's
      -- row. The reader numbers rows itself, once it sees them.
      ALTER TABLE site_result RENAME COLUMN seq TO written;
      ALTER TABLE site_result ADD COLUMN seq bigint UNIQUE;
      CREATE INDEX site_result_unnumbered ON site_result (written) WHERE seq IS NULL;
      CREATE TABLE site_outbox (
        one boolean PRIMARY KEY DEFAULT true CHECK (one),
        last_seq bigint NOT NULL DEFAULT 0,
        acknowledged_seq bigint NOT NULL DEFAULT 0,
        acknowledged_at timestamptz
      );
      INSERT INTO site_outbox DEFAULT VALUES;

      ALTER TABLE agent_identity ADD COLUMN told_connected boolean NOT NULL DEFAULT false;

      ALTER TABLE standby ADD COLUMN follow text NOT NULL DEFAULT 'agency' CHECK (follow IN ('agency', 'peer'));
      -- The link hears of what concerns it, not of a copy's progress nor of each renewed lease.
      DROP TRIGGER tell_link ON standby;
      CREATE TRIGGER tell_link AFTER INSERT OR DELETE ON standby FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      CREATE TRIGGER tell_link_change AFTER UPDATE ON standby FOR EACH ROW
        WHEN ((OLD.agent_id, OLD.workload_name, OLD.role, OLD.mode, OLD.state, OLD.epoch, OLD.names, OLD.peer,
               OLD.follow, OLD.forward_port, OLD.standby_port, OLD.reboot_until, OLD.promoted_at_lsn)
              IS DISTINCT FROM
              (NEW.agent_id, NEW.workload_name, NEW.role, NEW.mode, NEW.state, NEW.epoch, NEW.names, NEW.peer,
               NEW.follow, NEW.forward_port, NEW.standby_port, NEW.reboot_until, NEW.promoted_at_lsn))
        EXECUTE FUNCTION tell_link();
      DROP TRIGGER tell_link ON armed_lease;
      CREATE TRIGGER tell_link_change AFTER UPDATE ON armed_lease FOR EACH ROW
        WHEN ((OLD.refused, OLD.disarm_request_id, OLD.rearm) IS DISTINCT FROM
              (NEW.refused, NEW.disarm_request_id, NEW.rearm))
        EXECUTE FUNCTION tell_link();
      CREATE UNIQUE INDEX standby_forward_port ON standby (forward_port);
      CREATE INDEX standby_agent ON standby (agent_id);

      -- What the control plane was last told of each workload's arming, so that it hears of every change once.
      ALTER TABLE armed_lease
        ADD COLUMN told_armed boolean NOT NULL DEFAULT false,
        ADD COLUMN ended_because text CHECK (ended_because IN ('ran-out', 'disarmed', 'degraded', 'answered-not-armed')),
        ADD COLUMN disarm_by text CHECK (disarm_by IN ('agent', 'person')),
        ADD COLUMN disarm_expires_at timestamptz,
        ADD COLUMN grant_over boolean NOT NULL DEFAULT false;
      CREATE TABLE source_news (
        workload_id uuid NOT NULL REFERENCES standby ON DELETE CASCADE,
        kind text NOT NULL,
        epoch integer NOT NULL,
        content_hash text NOT NULL,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (workload_id, kind, epoch, content_hash)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      DROP TABLE source_news, site_outbox;
      ALTER TABLE armed_lease DROP COLUMN told_armed, DROP COLUMN ended_because, DROP COLUMN disarm_by,
        DROP COLUMN disarm_expires_at, DROP COLUMN grant_over;
      DROP TRIGGER tell_link_change ON armed_lease;
      CREATE TRIGGER tell_link AFTER UPDATE OF refused, disarm_request_id, rearm ON armed_lease
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      DROP TRIGGER tell_link_change ON standby;
      DROP TRIGGER tell_link ON standby;
      CREATE TRIGGER tell_link AFTER INSERT OR UPDATE OR DELETE ON standby
        FOR EACH STATEMENT EXECUTE FUNCTION tell_link();
      DROP INDEX standby_agent, standby_forward_port;
      ALTER TABLE standby DROP COLUMN follow;
      ALTER TABLE agent_identity DROP COLUMN told_connected;
      ALTER TABLE site_result DROP COLUMN seq;
      ALTER TABLE site_result RENAME COLUMN written TO seq;
      ALTER TABLE site_order DROP COLUMN work_key, DROP COLUMN content_hash, DROP COLUMN next_attempt_at,
        DROP COLUMN claimed_by, DROP COLUMN claimed_until;
    `);
  }
}
