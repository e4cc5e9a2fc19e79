import type { Readable } from 'node:stream';
import { MessageTooLargeError } from './errors.js';

/** A request over a link, as the end that answers it sees it. */
export interface LinkRequest {
  readonly path: string;
  /** Aborted when the asking end gave up or the link ended. */
  readonly signal: AbortSignal;
  readonly body: Readable;
  /** The whole body as JSON; undefined when empty. */
  json(): Promise<unknown>;
}

/** The answer: a JSON value, or a stream of bytes (or of lines of JSON). A status other than 200 is for the caller. */
export type LinkResponse =
  | { readonly status?: number; readonly json: unknown }
  | { readonly status?: number; readonly stream: Readable; readonly contentType?: string };

/** The answer to a streaming request: the body errors unless it came whole. */
export interface LinkStream {
  readonly status: number;
  readonly contentType: string | undefined;
  readonly body: Readable;
}

export const MAXIMUM_JSON_BYTES = 16 * 2 ** 20;
/** A trailer: a byte stream that ends without it was cut off. */
export const COMPLETE_TRAILER = 'link-complete';

/** @throws MessageTooLargeError, SyntaxError, or the stream's error. */
export async function readJson(stream: Readable): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAXIMUM_JSON_BYTES) throw new MessageTooLargeError(MAXIMUM_JSON_BYTES);
    chunks.push(chunk);
  }
  return bytes === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
