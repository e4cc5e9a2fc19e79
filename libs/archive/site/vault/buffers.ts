/**
 * Buffers of one size that are used again. A fresh one for each piece of each object costs a server more than the bytes
 * themselves do: the kernel clears its pages, and V8 collects garbage for it (measured: half of a download's processor
 * time).
 */
export class Buffers {
  private readonly free: Buffer[] = [];

  /** @param kept so many at the most stay in memory while nobody uses them. */
  constructor(
    readonly bytes: number,
    private readonly kept: number,
  ) {}

  take(): Buffer {
    return this.free.pop() ?? Buffer.allocUnsafeSlow(this.bytes);
  }

  /** To be called only when nothing, the kernel included, reads or writes it any more. */
  give(buffer: Buffer): void {
    if (this.free.length < this.kept) this.free.push(buffer);
  }
}

/**
 * Frees the memory of a buffer that nobody uses any more. V8 would do so only when so much has piled up that it marks all
 * of the process's objects for it (measured: more processor time than hashing the bytes takes).
 */
export function release({ buffer, byteLength }: Buffer): void {
  // One that shares its memory with others is left to V8.
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0);
}
