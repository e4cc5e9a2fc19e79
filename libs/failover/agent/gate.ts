import path from 'node:path';
import { readPlain } from '#libs/platform/postgres';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { ledBy, type ProtectionRecord } from '#libs/replication/agent';
import type { FencingRecord } from './fencing-record.js';

/** What the tunnel answers to the gate's question. */
export const gateAnswer = z.object({ state: z.enum(['confirmed', 'fenced', 'waiting', 'unprotected']) });
export type GateAnswer = z.infer<typeof gateAnswer>;

export interface GateQuestion {
  readonly protection: ProtectionRecord | undefined;
  readonly fencing: FencingRecord | undefined;
  readonly dataDirectory: string;
  readonly timeoutMs: number;
  /** Asks the tunnel, which waits a moment for a site's word; rejects while there is no tunnel. */
  readonly ask: () => Promise<GateAnswer>;
}

export type GateVerdict =
  | { readonly open: true; readonly why: string; readonly alarm: boolean }
  | { readonly open: false; readonly why: string };

const AGAIN_MS = 300;

/**
 * Whether PostgreSQL may start on this machine. Local clients could reach a returning old primary before the agent does,
 * so it waits until a site has said which epoch is the newest. After the time-out a strict, armed workload may start: it
 * cannot acknowledge a write alone. An available one starts with an alarm.
 */
export async function passGate(question: GateQuestion): Promise<GateVerdict> {
  const { protection, fencing } = question;
  if (fencing?.fenced) return closed(fencing.fenced.epoch);
  if (!protection) return { open: true, why: 'This workload is not protected by Mainstay.', alarm: false };
  const end = performance.now() + question.timeoutMs;
  while (performance.now() < end) {
    // No tunnel, or one that hangs or is being replaced: it is asked again until the time-out.
    const answer = await question.ask().catch(() => undefined);
    switch (answer?.state) {
      case 'confirmed':
        return { open: true, why: 'A warm site has confirmed that this server is the newest.', alarm: false };
      case 'unprotected':
        return { open: true, why: 'This workload is not protected by Mainstay.', alarm: false };
      case 'fenced':
        return closed(null);
      case 'waiting':
      case undefined:
        await delay(AGAIN_MS);
    }
  }
  if (protection.mode === 'strict' && (await startsArmed(question.dataDirectory, protection))) {
    return {
      open: true,
      why: 'No warm site could be reached. The server may start: it is armed and acknowledges no write before its synchronous site is back.',
      alarm: false,
    };
  }
  return {
    open: true,
    why: 'No warm site could be reached, so that nobody knows whether one has taken over. The server may start, with an alarm: find out before anybody writes.',
    alarm: true,
  };
}

function closed(epoch: number | null): GateVerdict {
  const since = epoch === null ? '' : ` (epoch ${epoch})`;
  return {
    open: false,
    why: `A warm site has taken over this workload${since}: this server is fenced and must not start. Clients go on at the site. Run "mainstay-agent status" for what it has that the site lacks, and call support to bring it home.`,
  };
}

/** What the next start will read: a server that nobody armed could acknowledge alone. */
async function startsArmed(dataDirectory: string, protection: ProtectionRecord): Promise<boolean> {
  // A file that cannot be read arms nobody: the server starts with an alarm.
  const auto = await readPlain(path.join(dataDirectory, 'postgresql.auto.conf')).then(String, () => '');
  const filed = [...auto.matchAll(/^\s*synchronous_standby_names\s*=\s*'(.*)'\s*$/gim)].at(-1)?.[1];
  return filed !== undefined && ledBy(filed, protection.names) !== null;
}
