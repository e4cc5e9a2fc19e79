import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { waitFor } from '#libs/platform/clock';
import { LINK_PROTOCOL } from './contract.js';
import { FAST, linked, SOON, startAgent, startEcho, startSite, type TestSite } from './test-links.js';

/** Time in which somebody who holds places comes back after having been put out. */
const COMES_BACK_MS = 50;

/** Holds a connection open from each of these addresses, says nothing, and comes back whenever it is closed. */
async function hold(site: TestSite, sources: readonly string[]): Promise<{ readonly opened: () => number }> {
  let over = false;
  let opened = 0;
  const sockets = new Set<net.Socket>();
  onTestFinished(() => {
    over = true;
    for (const socket of sockets) socket.destroy();
  });
  const open = (localAddress: string): net.Socket => {
    const socket = net.connect({ host: site.host, port: site.port, localAddress });
    sockets.add(socket);
    socket.once('connect', () => (opened += 1));
    socket
      .on('error', () => undefined)
      .once('close', () => {
        sockets.delete(socket);
        if (!over) setTimeout(() => over || open(localAddress), COMES_BACK_MS).unref();
      });
    return socket;
  };
  await Promise.all(sources.map((source) => once(open(source), 'connect')));
  return { opened: () => opened };
}

const addresses = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `127.0.${1 + Math.floor(index / 200)}.${1 + (index % 200)}`);

/** Links an agent and uses a stream of its. */
async function served(site: TestSite): Promise<void> {
  const agent = startAgent(site, { workloads: { permits: await startEcho() } });
  await linked(site, agent);
  const stream = await site.gateway.open(agent.agentId, 'permits', 'sync');
  stream.write('still here');
  const [echo] = (await once(stream, 'data')) as [Buffer];
  expect(echo.toString()).toBe('still here');
  stream.destroy();
}

test('an agent is served while one stranger holds all the connections that it can', async () => {
  const site = await startSite();
  await hold(site, Array<string>(100).fill('127.0.0.9'));
  await served(site);
});

test('an agent is served behind the same address as somebody who holds connections', async () => {
  const site = await startSite();
  await hold(site, Array<string>(100).fill('127.0.0.1'));
  await served(site);
});

test('an agent is served while more strangers than there is room for come from as many addresses', async () => {
  const site = await startSite({ strangers: { total: 64 } });
  const strangers = await hold(site, addresses(100));
  await served(site);
  await waitFor('strangers who had to come back', () => strangers.opened() > 100, SOON);
});

test('an address from which something is linked may bring many connections at once', async () => {
  const site = await startSite({ strangers: { perSource: 4 } });
  const agent = startAgent(site, { workloads: { permits: await startEcho() } });
  await linked(site, agent);
  const streams = await Promise.all(
    Array.from({ length: 60 }, () => site.gateway.open(agent.agentId, 'permits', 'sync')),
  );
  for (const stream of streams) stream.destroy();
});

test('whoever says nothing is put out before whoever is in the middle of a handshake', async () => {
  const site = await startSite({ strangers: { perSource: 2 } });
  const first = tls.connect({
    host: site.host,
    port: site.port,
    rejectUnauthorized: false,
    ALPNProtocols: [LINK_PROTOCOL],
  });
  first.on('error', () => undefined);
  onTestFinished(() => void first.destroy());
  await once(first, 'secureConnect');
  const silent = net.connect({ host: site.host, port: site.port }).on('error', () => undefined);
  const gone = once(silent, 'close');
  await once(silent, 'connect');
  const third = net.connect({ host: site.host, port: site.port }).on('error', () => undefined);
  onTestFinished(() => void third.destroy());
  await gone;
  expect(first.destroyed).toBe(false);
});

test('a connection on which no first byte comes is ended long before the time for a handshake is up', async () => {
  const site = await startSite({ timings: { ...FAST, firstByte: 100, handshake: 3_600_000 } });
  const silent = net.connect({ host: site.host, port: site.port }).on('error', () => undefined);
  await once(silent, 'close');
});
