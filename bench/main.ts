import { mkdir, writeFile } from 'node:fs/promises';
import { Command, InvalidArgumentError } from 'commander';
import { SideMissingError } from './vault/programs.js';
import { asTable, type BenchOptions, type BenchReport } from './report.js';

/** Each benchmark is loaded only when it is asked for: they need programs that not every machine has. */
const BENCHES: Readonly<Record<string, () => Promise<{ run(options: BenchOptions): Promise<BenchReport> }>>> = {
  vault: () => import('./vault/index.js'),
  'vault-scale': () => import('./vault-scale/index.js'),
  archive: () => import('./archive/index.js'),
  tunnel: () => import('./tunnel/index.js'),
  failover: () => import('./failover/index.js'),
};

const program = new Command()
  .name('npm run bench --')
  .description('Measures Mainstay beside references in the same run; writes bench/results/NAME.json.')
  .argument('<name...>', `which: ${Object.keys(BENCHES).join(', ')}`)
  .option('--quick', 'fewer rounds and less data, to see that it works; the numbers mean little', false)
  .option('--rounds <number>', "instead of the benchmark's own; vault, vault-scale, archive", positive)
  .option('--repositories <number>', 'vault-scale', positive)
  .option('--clients <number>', 'vault-scale', positive)
  .option('--gigabytes <number>', 'archive: the size of the tree', positive)
  .option('--percent <number>', 'archive: how much of the tree a day changes', positive)
  .action(async (names: string[], options: BenchOptions) => {
    for (const name of names) {
      const load = BENCHES[name];
      if (!load) program.error(`there is no benchmark "${name}"; there are: ${Object.keys(BENCHES).join(', ')}`);
      else await measure(name, load, options);
    }
  });

async function measure(name: string, load: (typeof BENCHES)[string], options: BenchOptions): Promise<void> {
  const report = await (await load()).run(options).catch((error: unknown) => {
    if (error instanceof SideMissingError) program.error(error.message);
    throw error;
  });
  console.log(`\n${report.name}: ${report.how}\n${report.machine}, ${report.when}\n\n${asTable(report)}`);
  if (options.quick) return;
  await mkdir('bench/results', { recursive: true });
  await writeFile(`bench/results/${name}.json`, `${JSON.stringify(report, null, 2)}\n`);
}

function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new InvalidArgumentError('It is to be a number above 0.');
  return value;
}

await program.parseAsync();
