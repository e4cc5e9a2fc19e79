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

/** The longest JSON over a link, in bytes, unless whoever asks sets another limit for its answer. */
export const MAXIMUM_JSON_BYTES = 2 * 2 ** 20;
/** A refusal is a code and a sentence. */
export const MAXIMUM_REFUSAL_BYTES = 64 * 1_024;
/** A trailer: a byte stream that ends without it was cut off. */
export const COMPLETE_TRAILER = 'link-complete';

/** @throws MessageTooLargeError, SyntaxError, or the stream's error. */
export async function readJson(stream: Readable, longest = MAXIMUM_JSON_BYTES): Promise<unknown> {
  const bytes = await readBytes(stream, longest);
  return bytes.length === 0 ? undefined : JSON.parse(bytes.toString('utf8'));
}

/** @throws MessageTooLargeError as soon as it is, or the stream's error. */
export async function readBytes(stream: Readable, longest: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > longest) throw new MessageTooLargeError(longest);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
