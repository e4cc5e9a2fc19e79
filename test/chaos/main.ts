import { Command } from 'commander';
import { held, playChaos } from './chaos.js';

const program = new Command()
  .name('npm run chaos --')
  .description(
    'Random kills, freezes and partitions under writers that note every acknowledged write; checks the invariants.',
  )
  .option('--rounds <number>', 'how many lives of an agency', Number, 20)
  .option(
    '--seed <number>',
    'the first round’s seed; a seed repeats its faults',
    Number,
    Math.floor(Math.random() * 2 ** 31),
  )
  .action(async ({ rounds, seed }: { rounds: number; seed: number }) => {
    const results = await playChaos({
      rounds,
      seed,
      tell: (line) => console.log(`  ${line}`),
      heard: (round) =>
        console.log(
          `${held(round) ? 'held  ' : 'BROKEN'} seed ${round.seed}: ${round.acknowledged} acknowledged, ${round.lost.length} lost, ` +
            `${round.acknowledgedByOld} by the old primary, record says loss ${round.loss}; ${round.faults.join('; ')}`,
        ),
    });
    const broken = results.filter((round) => !held(round));
    console.log(`${results.length - broken.length} of ${results.length} rounds held`);
    process.exitCode = broken.length === 0 ? 0 : 1;
  });

await program.parseAsync();
