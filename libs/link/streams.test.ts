import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type net from 'node:net';
import { type Duplex, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { linked, SOON, startAgent, startEcho, startServer, startSite } from './test-links.js';

const MEGABYTE = 2 ** 20;

/** Random, so that order matters, and not so random that making it takes the test's time. */
function* pieces(megabytes: number, hash: { update(chunk: Buffer): unknown }): Generator<Buffer> {
  const base = randomBytes(MEGABYTE);
  for (let index = 0; index < megabytes; index += 1) {
    const chunk = Buffer.concat([base.subarray(index), base.subarray(0, index)]);
    hash.update(chunk);
    yield chunk;
  }
}

async function hashOf(stream: Readable): Promise<{ hash: string; bytes: number }> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { hash: hash.digest('hex'), bytes };
}

function aborted(stream: Duplex): Promise<string> {
  return new Promise((resolve) => {
    stream.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    stream.once('close', () => resolve('closed'));
  });
}

test('64 MB each way at once arrive whole, and an end of one direction leaves the other open', async () => {
  const site = await startSite();
  const sent = createHash('sha256');
  const there = new Promise<{ hash: string; bytes: number }>((resolve) => {
    void startServer((socket) => {
      void hashOf(socket).then(resolve);
      Readable.from(pieces(64, sent)).pipe(socket);
    }).then((port) => started(port));
  });
  let started!: (port: number) => void;
  const port = await new Promise<number>((resolve) => (started = resolve));
  const agent = startAgent(site, { workloads: { permits: port }, lanes: ['sync', 'bulk'] });
  await linked(site, agent, 'bulk');
  const stream = await site.gateway.open(agent.agentId, 'permits', 'bulk');
  const mine = createHash('sha256');
  const back = hashOf(stream);
  Readable.from(pieces(64, mine)).pipe(stream);
  expect(await there).toEqual({ hash: mine.digest('hex'), bytes: 64 * MEGABYTE });
  expect(await back).toEqual({ hash: sent.digest('hex'), bytes: 64 * MEGABYTE });
  await waitFor('the stream to be forgotten', () => site.gateway.links().every((link) => link.streams === 0), SOON);
});

test('the end of one direction passes, and what the other end says afterwards still arrives', async () => {
  const site = await startSite();
  const port = await startServer((socket) => {
    const heard: Buffer[] = [];
    socket.on('data', (chunk) => heard.push(chunk));
    socket.on('end', () => socket.end(`heard ${Buffer.concat(heard).toString()}`));
  });
  const agent = startAgent(site, { workloads: { permits: port } });
  await linked(site, agent);
  const stream = await site.gateway.open(agent.agentId, 'permits', 'sync');
  stream.end('all of it');
  const answer = await stream.setEncoding('utf8').toArray();
  expect(answer.join('')).toBe('heard all of it');
});

test('a reader that stops holds the writer back, and memory does not grow', async () => {
  const site = await startSite();
  let written = 0;
  const port = await startServer((socket) => {
    const chunk = Buffer.alloc(MEGABYTE);
    const write = (): void => {
      while (written < 512 * MEGABYTE && socket.write(chunk)) written += chunk.length;
    };
    socket.on('drain', write);
    write();
  });
  const agent = startAgent(site, { workloads: { permits: port } });
  await linked(site, agent);
  const stream = await site.gateway.open(agent.agentId, 'permits', 'sync');
  await once(stream, 'readable');
  const standstill = async (): Promise<boolean> => {
    const before = written;
    await delay(200);
    return written === before;
  };
  await waitFor('the writer to stand still', standstill, SOON);
  // What the kernel's socket buffers of four sockets hold, and little more.
  expect(written).toBeLessThan(100 * MEGABYTE);
  expect(stream.readableLength).toBeLessThan(MEGABYTE);
  stream.destroy();
});

test('a reset at the workload reaches the site as a failure, and one at the site reaches the workload', async () => {
  const site = await startSite();
  const accepted: net.Socket[] = [];
  const port = await startServer((socket) => accepted.push(socket.resume()));
  const agent = startAgent(site, { workloads: { permits: port } });
  await linked(site, agent);

  const first = await site.gateway.open(agent.agentId, 'permits', 'sync');
  await waitFor('the connection', () => accepted[0], SOON);
  const failure = aborted(first);
  first.resume();
  accepted[0]!.resetAndDestroy();
  expect(await failure).toBe('ECONNRESET');

  const second = await site.gateway.open(agent.agentId, 'permits', 'sync');
  await waitFor('the connection', () => accepted[1], SOON);
  const gone = aborted(accepted[1]!);
  second.destroy();
  expect(await gone).toMatch(/closed|ECONNRESET/);
});

test('only listed workloads are reached, and one that is down is said to be', async () => {
  const site = await startSite();
  const free = await startServer(() => undefined);
  const agent = startAgent(site, { workloads: { permits: await startEcho(), down: 1 } });
  await linked(site, agent);
  const open = (name: string) => site.gateway.open(agent.agentId, name, 'sync');
  await expect(open('billing')).rejects.toMatchObject({ code: 'link.workload-refused', kind: 'forbidden' });
  await expect(open(`127.0.0.1:${free}`)).rejects.toMatchObject({ code: 'link.workload-refused' });
  await expect(open('down')).rejects.toMatchObject({ code: 'link.workload-unreachable', kind: 'unavailable' });
  await expect(site.gateway.open(agent.agentId, 'permits', 'bulk')).rejects.toMatchObject({
    code: 'link.not-connected',
  });
  const echo = await open('permits');
  echo.write('still here');
  expect(String((await once(echo, 'data'))[0])).toBe('still here');
  echo.destroy();
});

test('a command is answered by JSON or bytes, and its errors keep their code', async () => {
  const site = await startSite();
  const agent = startAgent(site, {
    request: async (request) => {
      if (request.path === '/v1/bytes') return { stream: Readable.from(pieces(8, createHash('sha256'))) };
      if (request.path === '/v1/cut') {
        return {
          stream: Readable.from(
            (async function* () {
              yield Buffer.alloc(MEGABYTE);
              throw new Error('the disk is gone');
            })(),
          ),
        };
      }
      if (request.path === '/v1/never') {
        await once(request.signal, 'abort');
        return { json: null };
      }
      if (request.path === '/v1/long') return { json: 'x'.repeat(3 * MEGABYTE) };
      if (request.path === '/v1/fail') throw new Error('secret of the agency');
      return { json: { path: request.path, got: await request.json() } };
    },
  });
  await linked(site, agent);
  const { agentId } = agent;
  expect(await site.gateway.request(agentId, 'sync', '/v1/pulse', { a: 1 })).toEqual({
    path: '/v1/pulse',
    got: { a: 1 },
  });
  const bytes = await site.gateway.requestStream(agentId, 'sync', '/v1/bytes', {});
  expect((await hashOf(bytes.body)).bytes).toBe(8 * MEGABYTE);
  const cut = await site.gateway.requestStream(agentId, 'sync', '/v1/cut', {});
  await expect(hashOf(cut.body)).rejects.toMatchObject({ code: 'link.lost' });
  const slow = site.gateway.request(agentId, 'sync', '/v1/never', {}, { timeoutMs: 200 });
  await expect(slow).rejects.toMatchObject({ code: 'link.timeout' });
  await expect(site.gateway.request(agentId, 'sync', '/v1/long', {})).rejects.toMatchObject({
    code: 'link.message-too-large',
  });
  const unread = site.gateway.requestUnread(agentId, 'sync', '/v1/long', {}, { answerBytes: 4 * MEGABYTE });
  expect((await unread).length).toBe(3 * MEGABYTE + 2);
  await expect(site.gateway.request(agentId, 'sync', '/v1/pulse', { a: 1 }, { answerBytes: 10 })).rejects.toMatchObject(
    { code: 'link.message-too-large' },
  );
  const failed: unknown = await site.gateway.request(agentId, 'sync', '/v1/fail', {}).catch((error: unknown) => error);
  expect(failed).toMatchObject({ code: 'link.internal', kind: 'internal' });
  expect(String(failed)).not.toContain('secret');
});
