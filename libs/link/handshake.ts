import { randomBytes } from 'node:crypto';
import net, { isIP } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { plainFingerprint } from './certificates.js';
import { canonicalJson } from './canonical-json.js';
import {
  EXPORTER_LABEL,
  LINK_PROTOCOL,
  MAXIMUM_HELLO_BYTES,
  welcome,
  type Hello,
  type UnsignedHello,
  type Welcome,
} from './contract.js';
import { HandshakeError, HelloRefusedError, LinkLostError, LinkTimeoutError, PinMismatchError } from './errors.js';
import { signBytes, verifyBytes, type LinkIdentity } from './keys.js';
import { ownsSocket } from './splice.js';

const LENGTH_BYTES = 4;
/** TCP's own probes, behind ours: they also end connections that carry no pings. */
const KEEP_ALIVE_MS = 15_000;

export interface LinkTarget {
  readonly host: string;
  readonly port: number;
  /** SHA-256 of the gateway's certificate, 64 hexadecimal digits. */
  readonly certificateFingerprint: string;
}

/**
 * Dials a gateway, checks its pin, says hello and waits for the welcome. What came behind the welcome stays in the
 * socket for whoever reads next.
 *
 * @throws PinMismatchError, HelloRefusedError, HandshakeError, LinkTimeoutError, or the system's connection error.
 */
export async function dial(
  target: LinkTarget,
  hello: UnsignedHello,
  identity: LinkIdentity,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<TLSSocket> {
  if (signal?.aborted) throw new LinkLostError('it was closed');
  const raw = net.connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
  raw.setKeepAlive(true, KEEP_ALIVE_MS);
  const socket = tls.connect({
    socket: raw,
    ...(isIP(target.host) ? {} : { servername: target.host }),
    ALPNProtocols: [LINK_PROTOCOL],
    minVersion: 'TLSv1.3',
    // The pin takes the place of a chain of authorities: it is checked right below, before anything is sent.
    rejectUnauthorized: false,
  });
  ownsSocket(socket, raw);
  const timer = setTimeout(() => raw.destroy(new LinkTimeoutError('the handshake', timeoutMs)), timeoutMs);
  const giveUp = (): void => void raw.destroy(new LinkLostError('it was closed'));
  signal?.addEventListener('abort', giveUp, { once: true });
  try {
    await secured(socket, raw);
    const found = plainFingerprint(socket.getPeerX509Certificate()?.fingerprint256 ?? '');
    if (found !== target.certificateFingerprint) throw new PinMismatchError(target.certificateFingerprint, found);
    if (socket.alpnProtocol !== LINK_PROTOCOL) throw new HandshakeError('the server does not speak the link protocol');
    await writeFrame(socket, signHello(socket, hello, identity));
    const answer = welcome.safeParse(await readFrame(socket));
    if (!answer.success) throw new HandshakeError('the welcome is not one', answer.error);
    if (!answer.data.ok) throw new HelloRefusedError(answer.data.code, answer.data.message);
    return socket;
  } catch (error) {
    socket.on('error', () => undefined).destroy();
    raw.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', giveUp);
  }
}

function secured(socket: TLSSocket, raw: net.Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = (): void => reject(new HandshakeError('the connection was closed'));
    raw.once('error', reject).once('close', closed);
    socket.once('error', reject);
    socket.once('secureConnect', () => {
      raw.off('close', closed).off('error', reject);
      socket.off('error', reject);
      // From here on errors come through reads and writes of the TLS socket; alone, this event would end the process.
      raw.on('error', () => undefined);
      resolve();
    });
  });
}

/** The fields that every hello has beside its own. */
export function helloBasis(version: string, instanceId: string) {
  return { protocol: 1, version, instanceId, nonce: randomBytes(16).toString('base64url') };
}

function signHello(socket: TLSSocket, hello: UnsignedHello, identity: LinkIdentity): Hello {
  return { ...hello, signature: signBytes(transcript(socket, hello), identity.privateKey) };
}

/** Whether the owner of the key made this hello for this very TLS connection. */
export function helloIsGenuine(socket: TLSSocket, hello: Hello, publicKey: string): boolean {
  const { signature, ...unsigned } = hello;
  return verifyBytes(transcript(socket, unsigned), signature, publicKey);
}

function transcript(socket: TLSSocket, hello: UnsignedHello): Buffer {
  const bound = socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0));
  return Buffer.concat([bound, Buffer.from(canonicalJson(hello))]);
}

/**
 * Writes one length-prefixed JSON value; resolves once the socket has taken it. An HTTP/2 session must not take a TLS
 * socket over before: Node 24 aborts the process when a write that is not the session's own ends in it.
 */
export function writeFrame(socket: TLSSocket, value: Hello | Welcome): Promise<void> {
  const body = Buffer.from(JSON.stringify(value));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(body.length);
  return new Promise((resolve, reject) => {
    socket.write(Buffer.concat([length, body]), (error) => {
      if (error) reject(new HandshakeError('the connection was closed', error));
      else resolve();
    });
  });
}

/**
 * Reads one length-prefixed JSON value, and not a byte more.
 *
 * @throws HandshakeError when it is too long, no JSON, or the connection ends before it does.
 */
export async function readFrame(socket: TLSSocket): Promise<unknown> {
  const length = (await readExactly(socket, LENGTH_BYTES)).readUInt32BE();
  if (length === 0 || length > MAXIMUM_HELLO_BYTES) throw new HandshakeError(`a message of ${length} bytes`);
  const body = await readExactly(socket, length);
  try {
    return JSON.parse(body.toString('utf8'));
  } catch (cause) {
    throw new HandshakeError('a message that is no JSON', cause);
  }
}

function readExactly(socket: TLSSocket, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const fail = (error?: Error): void => {
      stop();
      reject(new HandshakeError('the connection was closed', error));
    };
    const tryRead = (): void => {
      const chunk = socket.read(bytes) as Buffer | null;
      if (chunk === null) return;
      // At the end of a stream, read() hands out whatever is left.
      if (chunk.length < bytes) return fail();
      stop();
      resolve(chunk);
    };
    const closed = (): void => fail();
    const stop = (): void => {
      socket.off('readable', tryRead).off('end', closed).off('close', closed).off('error', fail);
    };
    socket.on('readable', tryRead).on('end', closed).on('close', closed).on('error', fail);
    tryRead();
  });
}
