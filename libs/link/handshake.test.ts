import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls, { type TLSSocket } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { ChaosProxy } from '#test/chaos-proxy';
import { EXPORTER_LABEL, LINK_PROTOCOL, type Hello, type Welcome } from './contract.js';
import { canonicalJson } from './canonical-json.js';
import { helloBasis, readFrame, writeFrame } from './handshake.js';
import { createIdentity, signBytes, type LinkIdentity } from './keys.js';
import { FAST, gatewayCertificate, linked, SOON, startAgent, startSite, type TestSite } from './test-links.js';

async function rawConnection(site: TestSite): Promise<TLSSocket> {
  const socket = tls.connect({
    host: site.host,
    port: site.port,
    ca: site.certificate,
    rejectUnauthorized: false,
    ALPNProtocols: [LINK_PROTOCOL],
  });
  socket.on('error', () => undefined);
  onTestFinished(() => void socket.destroy());
  await once(socket, 'secureConnect');
  return socket;
}

function closing(socket: TLSSocket): Promise<void> {
  return new Promise((resolve) => (socket.destroyed ? resolve() : void socket.once('close', () => resolve())));
}

function signedHello(socket: TLSSocket, agentId: string, identity: LinkIdentity, protocol = 1): Hello {
  const hello = { kind: 'agent', agentId, lane: 'sync', ...helloBasis('test', randomUUID()), protocol } as const;
  const bound = socket.exportKeyingMaterial(32, EXPORTER_LABEL, Buffer.alloc(0));
  return {
    ...hello,
    signature: signBytes(Buffer.concat([bound, Buffer.from(canonicalJson(hello))]), identity.privateKey),
  };
}

async function answerTo(socket: TLSSocket, hello: Hello): Promise<Welcome> {
  await writeFrame(socket, hello);
  return (await readFrame(socket)) as Welcome;
}

test('a hello is good on the connection it was made for, and refused on another', async () => {
  const site = await startSite();
  const identity = createIdentity();
  const agentId = randomUUID();
  site.known.set(agentId, identity.publicKey);
  const first = await rawConnection(site);
  const hello = signedHello(first, agentId, identity);
  expect(await answerTo(await rawConnection(site), hello)).toMatchObject({ ok: false, code: 'bad-signature' });
  expect(await answerTo(await rawConnection(site), { ...hello, version: 'x' })).toMatchObject({ ok: false });
  expect(await answerTo(first, hello)).toEqual({ ok: true });
});

test('an altered hello, another key, an unknown agent and another protocol are refused with their reasons', async () => {
  const site = await startSite();
  const identity = createIdentity();
  const agentId = randomUUID();
  site.known.set(agentId, identity.publicKey);
  const refusal = async (make: (socket: TLSSocket) => Hello): Promise<string> => {
    const socket = await rawConnection(site);
    const answer = await answerTo(socket, make(socket));
    return answer.ok ? 'accepted' : answer.code;
  };
  expect(await refusal((socket) => ({ ...signedHello(socket, agentId, identity), version: 'other' }))).toBe(
    'bad-signature',
  );
  expect(await refusal((socket) => signedHello(socket, agentId, createIdentity()))).toBe('bad-signature');
  expect(await refusal((socket) => signedHello(socket, randomUUID(), identity))).toBe('unknown');
  expect(await refusal((socket) => signedHello(socket, agentId, identity, 2))).toBe('unsupported-version');
  expect(await refusal((socket) => ({ ...signedHello(socket, agentId, identity), agentId: 'x' }))).toBe('malformed');
  expect(site.gateway.links()).toEqual([]);
});

test('strangers are limited in bytes and in time', async () => {
  const site = await startSite({ timings: { ...FAST, handshake: 400 } });
  const long = await rawConnection(site);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(9_000);
  long.write(length);
  await closing(long);
  await closing(await rawConnection(site));
  const agent = startAgent(site);
  await linked(site, agent);
});

test('the agent sends nothing to a server whose certificate is not the pinned one', async () => {
  const site = await startSite();
  const agent = startAgent(site, { certificateFingerprint: 'ab'.repeat(32) });
  const status = await waitFor(
    'the failure',
    () => agent.dialer.status().find((link) => link.lastError !== null),
    SOON,
  );
  expect(status.lastError).toContain('not the one this end was enrolled with');
  expect(site.gateway.links()).toEqual([]);
});

test('an unknown agent is told so, and gets in once it is known', async () => {
  const site = await startSite();
  const agent = startAgent(site);
  const publicKey = site.known.get(agent.agentId)!;
  site.known.delete(agent.agentId);
  await waitFor('the refusal', () => agent.dialer.status()[0]?.lastError?.includes('does not know'), SOON);
  site.known.set(agent.agentId, publicKey);
  await linked(site, agent);
  await waitFor('a clean status', () => agent.dialer.status()[0]?.lastError === null, SOON);
  expect(agent.dialer.status()[0]).toMatchObject({ state: 'connected', lane: 'sync', siteId: site.siteId });
});

test('what comes in one piece with the welcome is not lost', async () => {
  const { certificate, privateKey } = await gatewayCertificate();
  const welcome = Buffer.from(JSON.stringify({ ok: true }));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(welcome.length);
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const settings = Buffer.from('000000040000000000', 'hex');
  const ping = Buffer.from('0000080600000000006d61696e73746179', 'hex');
  const pong = Buffer.from('0000080601000000006d61696e73746179', 'hex');
  const received: Buffer[] = [];
  const server = tls.createServer({ key: privateKey, cert: certificate, ALPNProtocols: [LINK_PROTOCOL] }, (socket) => {
    socket.on('error', () => undefined);
    void readFrame(socket).then(() => {
      socket.on('data', (chunk: Buffer) => received.push(chunk));
      socket.write(Buffer.concat([length, welcome, preface, settings, ping]));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const site = await startSite();
  startAgent(site, { port: (server.address() as AddressInfo).port });
  await waitFor('the answer to the ping', () => Buffer.concat(received).includes(pong), SOON);
});

test('a line that never carries the handshake through is given up and dialled again', async () => {
  const site = await startSite();
  const proxy = new ChaosProxy(site);
  const port = await proxy.listen();
  onTestFinished(() => proxy.close());
  proxy.stall();
  const agent = startAgent(site, { port, timings: { handshake: 300 } });
  await waitFor(
    'the time-out',
    () => agent.dialer.status()[0]?.lastError?.includes('no answer to the handshake'),
    SOON,
  );
  proxy.resume();
  await linked(site, agent);
});
