import path from 'node:path';
import { z } from 'zod';
import { waitFor } from '#libs/platform/clock';
import { freePort, ownedDirectory, type ServerIdentity } from '#libs/platform/postgres';
import { Daemon } from './program.js';

const health = z.object({ health: z.literal('true') });

/** One etcd server on the loopback address: where Patroni keeps its leader key. */
export class EtcdServer {
  private constructor(
    readonly port: number,
    private readonly daemon: Daemon,
  ) {}

  static async start(program: string, folder: string, identity: ServerIdentity): Promise<EtcdServer> {
    const directory = await ownedDirectory(path.join(folder, 'etcd'), identity);
    const [port, peerPort] = [await freePort(), await freePort()];
    const [client, peer] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${peerPort}`];
    const args = ['--name', 'bench', '--data-dir', path.join(directory, 'data'), '--initial-cluster', `bench=${peer}`];
    args.push('--listen-client-urls', client, '--advertise-client-urls', client);
    args.push('--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer);
    const server = new EtcdServer(port, new Daemon(program, args, path.join(directory, 'log'), identity));
    await server.daemon.start();
    await waitFor(
      'etcd to be healthy',
      async () => health.safeParse(await (await fetch(`${client}/health`)).json()).success,
      { timeoutMs: 30_000, everyMs: 50 },
    ).catch(async (error: unknown) => {
      await server.kill9();
      throw error;
    });
    return server;
  }

  kill9(): Promise<void> {
    return this.daemon.kill9();
  }
}
