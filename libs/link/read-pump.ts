import type net from 'node:net';
import type { Writable } from 'node:stream';

const SMALLEST_BYTES = 16 * 1024;
const LARGEST_BYTES = 256 * 1024;
/** Writes under way per connection: one is being encrypted and sent while the next is being read. */
const WRITES_AT_ONCE = 2;

const pumps = new WeakMap<object, ReadPump>();

/** The pump behind a socket of {@link connectTcp}; undefined for any other stream. */
export function pumpOf(stream: object): ReadPump | undefined {
  return pumps.get(stream);
}

/**
 * Reads a TCP socket into a few buffers that are used again and again, and writes them on as they are: a third less
 * processor time per byte than a pipe, which makes a buffer for each read. Until it is given a sink, the socket is a
 * stream like any other.
 *
 * An idle connection holds 16 KiB, a busy one three buffers of up to 256 KiB.
 */
export class ReadPump {
  /** For `net.connect`. */
  readonly onread: net.OnReadOpts = {
    buffer: () => (this.current = this.spare.pop() ?? Buffer.allocUnsafeSlow(this.size)),
    callback: (bytes) => this.take(bytes),
  };
  private size = SMALLEST_BYTES;
  private spare: Buffer[] = [];
  private current: Buffer | undefined;
  private writing = 0;
  private held = false;
  private sink: Writable | undefined;
  private socket: net.Socket | undefined;

  attach(socket: net.Socket): void {
    this.socket = socket;
    pumps.set(socket, this);
  }

  /** From now on everything that is read goes there; the socket still emits `end`. Call once, before others read. */
  into(sink: Writable): void {
    const { socket } = this;
    if (!socket) return;
    for (let chunk: unknown = socket.read(); chunk !== null; chunk = socket.read()) sink.write(chunk);
    this.sink = sink;
    socket.resume();
  }

  private take(bytes: number): boolean {
    const used = this.current;
    if (!used || !this.socket) return false;
    if (bytes === used.length && this.size < LARGEST_BYTES) {
      this.size = Math.min(LARGEST_BYTES, this.size * 4);
      this.spare = [];
    }
    const chunk = used.subarray(0, bytes);
    if (!this.sink) {
      const more = this.socket.push(Buffer.from(chunk));
      this.release(used);
      return more;
    }
    this.writing += 1;
    this.sink.write(chunk, () => this.written(used));
    this.held = this.writing >= WRITES_AT_ONCE;
    return !this.held;
  }

  private written(used: Buffer): void {
    this.writing -= 1;
    this.release(used);
    if (!this.held) return;
    this.held = false;
    this.socket?.resume();
  }

  private release(used: Buffer): void {
    if (used.length === this.size) this.spare.push(used);
  }
}
