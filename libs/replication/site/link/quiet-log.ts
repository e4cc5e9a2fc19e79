import type { LinkLog } from '#libs/link';
import type { Logger } from '#libs/platform/telemetry';

const ONCE_IN_MS = 10_000;
const REMEMBERED = 1_000;

/**
 * The link's log without its echoes: an agency that is away lets every connection of every client fail in the same way.
 * The same warning is written once in ten seconds, with how often it came since.
 */
export function quietLog(logger: Logger): LinkLog {
  const written = new Map<string, { at: number; more: number }>();
  return (level, message, facts) => {
    if (level === 'info') return logger.info(facts, message);
    const key = `${message} ${JSON.stringify(facts)}`;
    const now = performance.now();
    const last = written.get(key);
    if (last && now - last.at < ONCE_IN_MS) {
      last.more += 1;
      return;
    }
    if (written.size >= REMEMBERED) written.clear();
    written.set(key, { at: now, more: 0 });
    logger.warn(last && last.more > 0 ? { ...facts, timesSince: last.more } : facts, message);
  };
}
