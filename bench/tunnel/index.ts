import { compare, machineName, type BenchOptions, type BenchReport, type BenchResult } from '../report.js';
import { Cluster, type Route } from './cluster.js';
import { Cleanup, output, startEnd, timed } from './programs.js';
import { narrowLine, sshRoute, stunnelRoute, tunnelRoute } from './routes.js';

const LINE_MEGABITS = 155;
const LINE_DELAY_MS = 10;
const NARROW_BYTES = 200e6;
const OURS = 'Mainstay tunnel';
const PLAIN = 'plain TCP';
const TLS = 'direct TCP, sslmode=require';

/** Each measured value of a case, by route. */
type Samples = Map<string, number[]>;
type Case = Pick<BenchResult, 'case' | 'unit' | 'better'>;

/**
 * Measures PostgreSQL's own programs through our tunnel beside other ways to the same server, all on this machine: each
 * round measures every way once, one after the other, in an order that moves on with the round.
 */
export async function run(options: BenchOptions): Promise<BenchReport> {
  const cleanup = new Cleanup();
  try {
    return { ...(await measure(options, cleanup)), machine: machineName(), when: new Date().toISOString() };
  } finally {
    await cleanup.run();
  }
}

async function measure({ quick }: BenchOptions, cleanup: Cleanup): Promise<Omit<BenchReport, 'machine' | 'when'>> {
  const rounds = quick ? 2 : 3;
  const seconds = quick ? 2 : 8;
  const line = await narrowLine(cleanup, LINE_MEGABITS);
  const hosts = ['127.0.0.1', ...(line ? [line.agencyHost] : [])];
  const cluster = await Cluster.create(cleanup, quick ? 100 : 1_000, hosts);
  const routes = await allRoutes(cleanup, cluster.port);

  const copied: Samples = new Map();
  const backedUp: Samples = new Map();
  await inTurn(rounds, routes, async (name, route) => {
    add(copied, name, await copyRate(cluster, route));
    add(backedUp, name, await backupRate(cluster, route));
  });
  const results = [
    ...against({ case: 'COPY out', unit: 'MB/s', better: 'higher' }, copied),
    ...against({ case: 'pg_basebackup', unit: 'MB/s', better: 'higher' }, backedUp),
    ...(await commits(cluster, routes, rounds, seconds, '')),
  ];
  if (line) {
    const far = { ...line, delayMs: LINE_DELAY_MS };
    results.push(...(await narrow(cleanup, cluster, rounds, line, `${LINE_MEGABITS} Mbit/s`)));
    results.push(...(await narrow(cleanup, cluster, rounds, far, `${LINE_MEGABITS} Mbit/s, ${2 * LINE_DELAY_MS} ms`)));
  }
  results.push(...(await farCommits(cleanup, cluster, rounds, seconds)));
  return { name: 'tunnel', how: how(cluster, rounds, seconds, routes, line !== undefined), results };
}

async function allRoutes(cleanup: Cleanup, port: number): Promise<Map<string, Route>> {
  const found: [string, Route | undefined][] = [
    [OURS, await tunnelRoute(cleanup, port, { siteHost: '127.0.0.1' })],
    [TLS, { host: '127.0.0.1', port, sslmode: 'require' }],
    [PLAIN, { host: '127.0.0.1', port, sslmode: 'disable' }],
    ['OpenSSH -R', await sshRoute(cleanup, port)],
    ['stunnel', await stunnelRoute(cleanup, port)],
  ];
  return new Map(found.filter((entry): entry is [string, Route] => entry[1] !== undefined));
}

/** Synchronous commits of a client beside the primary, acknowledged once the standby at the end of the route has them. */
async function commits(
  cluster: Cluster,
  routes: ReadonlyMap<string, Route>,
  rounds: number,
  seconds: number,
  where: string,
): Promise<BenchResult[]> {
  await cluster.waitForStandby(true);
  const samples = new Map<number, Samples>([
    [1, new Map()],
    [8, new Map()],
  ]);
  await inTurn(rounds, routes, async (name, route) => {
    await cluster.stream(name, route);
    for (const [clients, measured] of samples) add(measured, name, await commitLatency(cluster, clients, seconds));
  });
  await cluster.waitForStandby(false);
  return [...samples].flatMap(([clients, measured]) =>
    against(
      { case: `synchronous commit, ${clients} client${clients > 1 ? 's' : ''}${where}`, unit: 'ms', better: 'lower' },
      measured,
    ),
  );
}

async function farCommits(cleanup: Cleanup, cluster: Cluster, rounds: number, seconds: number): Promise<BenchResult[]> {
  const target = { host: '127.0.0.1', port: cluster.port };
  const plain = { target, delayMs: LINE_DELAY_MS, host: '127.0.0.1' };
  const { port } = await startEnd<{ port: number }>(cleanup, 'delay-end', plain);
  const routes = new Map<string, Route>([
    [OURS, await tunnelRoute(cleanup, cluster.port, { siteHost: '127.0.0.1', delayMs: LINE_DELAY_MS })],
    [PLAIN, { host: '127.0.0.1', port, sslmode: 'disable' }],
  ]);
  return commits(cluster, routes, rounds, seconds, `, ${2 * LINE_DELAY_MS} ms`);
}

/** COPY by a client at the site, at the other end of a narrow line, ours beside plain TCP. */
async function narrow(
  cleanup: Cleanup,
  cluster: Cluster,
  rounds: number,
  line: { namespace: string; agencyHost: string; siteHost: string; delayMs?: number },
  where: string,
): Promise<BenchResult[]> {
  let plain: Route = { host: line.agencyHost, port: cluster.port, sslmode: 'disable' };
  if (line.delayMs) {
    const target = { host: '127.0.0.1', port: cluster.port };
    const proxy = { target, delayMs: line.delayMs, host: line.agencyHost };
    plain = { ...plain, ...(await startEnd<{ port: number }>(cleanup, 'delay-end', proxy)) };
  }
  const routes = new Map<string, Route>([
    [OURS, await tunnelRoute(cleanup, cluster.port, line)],
    [PLAIN, plain],
  ]);
  const samples: Samples = new Map();
  await inTurn(Math.min(rounds, 3), routes, async (name, route) => {
    add(samples, name, await copyRate(cluster, route, line.namespace));
  });
  return against({ case: `COPY out, ${where}`, unit: 'MB/s', better: 'higher' }, samples);
}

async function copyRate(cluster: Cluster, route: Route, namespace?: string): Promise<number> {
  // The narrow line is the bottleneck: a gigabyte would say no more than this, in a minute each.
  const share = namespace === undefined ? 1 : Math.min(1, NARROW_BYTES / cluster.copyBytes);
  const psql = [cluster.program('psql'), ...cluster.copyArguments(route, share)];
  const [file = '', ...args] = namespace ? ['ip', 'netns', 'exec', namespace, ...psql] : psql;
  const { seconds } = await timed(file, args);
  return (cluster.copyBytes * share) / seconds / 1e6;
}

async function backupRate(cluster: Cluster, route: Route): Promise<number> {
  const { seconds } = await timed(cluster.program('pg_basebackup'), cluster.backupArguments(route));
  return cluster.backupBytes / seconds / 1e6;
}

/** The mean latency of pgbench's transactions without its contended tables, milliseconds. */
async function commitLatency(cluster: Cluster, clients: number, seconds: number): Promise<number> {
  await cluster.checkpoint();
  const args = [
    '-n',
    '-N',
    '-M',
    'prepared',
    '-c',
    String(clients),
    '-T',
    String(seconds),
    ...cluster.clientArguments(),
  ];
  const text = await output(cluster.program('pgbench'), args);
  const found = /latency average = ([\d.]+) ms/.exec(text)?.[1];
  if (found === undefined) throw new Error(`pgbench wrote no latency: ${text}`);
  return Number(found);
}

async function inTurn(
  rounds: number,
  routes: ReadonlyMap<string, Route>,
  work: (name: string, route: Route) => Promise<void>,
): Promise<void> {
  const all = [...routes];
  for (let round = 0; round < rounds; round += 1) {
    const first = round % all.length;
    for (const [name, route] of [...all.slice(first), ...all.slice(0, first)]) await work(name, route);
  }
}

function add(samples: Samples, name: string, value: number): void {
  samples.set(name, [...(samples.get(name) ?? []), value]);
}

function against(what: Case, samples: Samples): BenchResult[] {
  const ours = samples.get(OURS) ?? [];
  return [...samples]
    .filter(([name]) => name !== OURS)
    .map(([referenceName, values]) => compare({ ...what, referenceName }, ours, values));
}

function how(
  cluster: Cluster,
  rounds: number,
  seconds: number,
  routes: ReadonlyMap<string, Route>,
  line: boolean,
): string {
  const missing = ['OpenSSH -R', 'stunnel'].filter((name) => !routes.has(name));
  return [
    `PostgreSQL on this machine, fsync on; ${Math.round(cluster.copyBytes / 1e6)} MB by COPY and pg_basebackup, pgbench -N for ${seconds} s with a standby that streams through the way measured; ${rounds} rounds, all ways in turn, medians.`,
    'Both ends of every way run here, so they share the processors. stunnel has no reverse mode: its client is at the site.',
    line
      ? `The narrow line is a network namespace behind tc tbf; ${2 * LINE_DELAY_MS} ms come from a proxy that delays, the same for both.`
      : 'The narrow line was left out: it needs root and tc.',
    ...(missing.length > 0 ? [`Not installed, so left out: ${missing.join(', ')}.`] : []),
  ].join(' ');
}
