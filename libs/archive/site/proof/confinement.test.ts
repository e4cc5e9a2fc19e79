import net from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { findPostgres } from '#libs/platform/postgres';
import { CareUnderTest } from '../testing/care-under-test.js';
import { confinement } from './confinement.js';
import { ProofScratch } from './proof-scratch.js';
import { ScratchPostgres } from './scratch-postgres.js';

let site: CareUnderTest;
beforeAll(async () => {
  site = await CareUnderTest.start();
});
afterAll(() => site.stop());

test('a dump’s code reaches nothing of this host by network, starts few processes, and waits for others', async () => {
  const { launcher, missing } = await confinement();
  const listener = net.createServer((socket) => socket.end('reached'));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const { port } = listener.address() as net.AddressInfo;
  const { majorVersion } = await findPostgres();
  try {
    await site.get(ProofScratch).with(1, async (folder) => {
      const identity = await site.get(ProofScratch).identity(folder);
      const server = await ScratchPostgres.start(folder, majorVersion, identity);
      const client = await server.connect('postgres');
      const read = async (file: string) =>
        (await client.query<{ text: string }>(`SELECT pg_read_file($1) AS text`, [file])).rows[0]?.text ?? '';
      try {
        const call = `COPY (SELECT 1) TO PROGRAM 'bash -c "exec 3<>/dev/tcp/127.0.0.1/${port}"'`;
        if (missing.some((what) => what.includes('network'))) expect(missing).not.toEqual([]);
        else await expect(client.query(call)).rejects.toThrow('failed');
        if (!launcher || missing.length > 0) return;
        expect((await read('/proc/self/net/dev')).match(/^\s*\w+:/gm)?.map((each) => each.trim())).toEqual(['lo:']);
        expect(await read('/proc/self/limits')).toMatch(/^Max processes\s+64\s+64/m);
        expect((await read('/proc/self/stat')).split(') ')[1]?.split(' ')[16]).toBe('10');
        expect(await read('/proc/self/status')).toMatch(/^NoNewPrivs:\s+1/m);
        expect(await read('/proc/self/status')).toMatch(new RegExp(`^Uid:\\s+${identity.uid}\\s+${identity.uid}`, 'm'));
      } finally {
        await client.end();
        await server.stop();
      }
    });
  } finally {
    listener.close();
  }
});
