// Runs the degrade receiver and sees to it that it never outlives its lease or the process that holds it. It is a
// process of its own, because a frozen or killed tunnel cannot stop anything: it kills the receiver when its standard
// input ends (the tunnel died), when no renewal has come in time (the tunnel is frozen), and, by the kernel, when it is
// killed itself. Plain Node without imports of ours, so that it starts in a moment and from the source tree as well.
//
// Arguments: the scratch directory, `UID:GID` or `-`, then the receiver's command. Lines on standard input: `until MILLISECONDS` of
// the monotonic clock, which all processes share: whoever reads it late does not live longer for that | `stop`.
import { spawn } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

const SEGMENT = /^[0-9A-F]{24}$/;
const PRUNE_EVERY_MS = 500;
/** Until the first renewal, which comes at once. */
const GRACE_MS = 5_000;

const [scratch = '', owner = '-', program = '', ...args] = process.argv.slice(2);
const [uid, gid] = owner.split(':').map(Number);
const identity = owner === '-' || uid === undefined || gid === undefined ? {} : { uid, gid };
const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'], ...identity });
// For systems without a parent-death signal: the next tunnel ends what a killed watcher left behind.
if (child.pid !== undefined) writeFileSync(`${scratch}.pid`, `${child.pid}\n`, { mode: 0o600 });

function end(code: number): void {
  child.kill('SIGKILL');
  process.exitCode = code;
  // The pid is gone only once it was collected: the holder must not believe it dead before.
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) process.exit(code);
  child.once('exit', () => process.exit(code));
}

let lease = setTimeout(() => end(3), GRACE_MS);
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => {
  const renewal = /^until (\d{1,15})$/.exec(line);
  if (renewal) {
    clearTimeout(lease);
    const left = Number(renewal[1]) - Number(process.hrtime.bigint() / 1_000_000n);
    lease = setTimeout(() => end(3), Math.max(0, left));
  } else if (line === 'stop') end(0);
});
lines.on('close', () => end(4));
child.once('error', () => process.exit(5));
child.once('exit', (code) => {
  if (process.exitCode === undefined) process.exit(code === 0 ? 6 : 5);
});
// A stop signal meant for the agent must end the receiver too, and not leave it without its watcher.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.once(signal, () => end(0));

// What it has received is of no use to anybody: only that it was received. It must not fill the agency's disk.
setInterval(() => {
  try {
    const segments = readdirSync(scratch).filter((name) => SEGMENT.test(name));
    for (const name of segments) rmSync(path.join(scratch, name), { force: true });
  } catch {
    process.stderr.write('the scratch directory of the degrade receiver cannot be pruned\n');
  }
}, PRUNE_EVERY_MS).unref();
