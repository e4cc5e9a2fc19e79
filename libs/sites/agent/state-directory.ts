import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Where the agent keeps what it was told and what it must not forget. */
export const DEFAULT_DIRECTORY = '/var/lib/mainstay-agent';

/** A Unix socket's path has some 108 characters at most, 104 on macOS. */
const SOCKET_PATH_MAX = 100;

/** The files of one agent. */
export class StateDirectory {
  readonly path: string;

  constructor(directory: string) {
    this.path = path.resolve(directory);
  }

  /** What the agency writes: the workloads that may be reached at all. */
  get configuration(): string {
    return this.in('agent.json');
  }

  /** The agent's Ed25519 key, made here; it never leaves. */
  get key(): string {
    return this.in('key.pem');
  }

  /** What the control plane answered at enrolment and since. */
  get assignment(): string {
    return this.in('assignment.json');
  }

  /** The tunnel's own door, for `run`, `status` and `gate`. */
  get tunnelSocket(): string {
    return this.socket('tunnel.sock');
  }

  /** Where the tunnel passes the sites' commands to `run`. */
  get commandSocket(): string {
    return this.socket('commands.sock');
  }

  get tunnelPid(): string {
    return this.in('tunnel.pid');
  }

  get runPid(): string {
    return this.in('run.pid');
  }

  get tunnelLog(): string {
    return this.in('tunnel.log');
  }

  /** The degrade receiver's scratch directory; PostgreSQL's user must be able to enter it. */
  lease(name: string): string {
    return this.in('lease', name);
  }

  /** What is kept of one workload. */
  workload(name: string, file: string): string {
    return this.in('workloads', name, file);
  }

  /** What is kept of archives: running work and its results, and restic's cache. */
  archive(...parts: string[]): string {
    return this.in('archive', ...parts);
  }

  /** Where a restore may always put files. */
  get restored(): string {
    return this.in('restored');
  }

  private in(...parts: string[]): string {
    return path.join(this.path, ...parts);
  }

  private socket(name: string): string {
    const inside = this.in(name);
    if (inside.length <= SOCKET_PATH_MAX) return inside;
    const short = createHash('sha256').update(this.path).digest('hex').slice(0, 16);
    return path.join(tmpdir(), `mainstay-agent-${short}`, name);
  }
}
