import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { errorText } from '#libs/platform/errors';
import { Stack } from '../stack.js';
import { Story, type StoryResult } from './story.js';

interface DemoOptions {
  readonly json: boolean;
  readonly keep: boolean;
  readonly logLevel: string;
}

const program = new Command()
  .name('npm run demo --')
  .description(
    'Plays the whole story on real servers: sign-up, protection, disaster, failover, fencing. Exits 0 only if all held.',
  )
  .option('--json', 'end with one line of JSON', false)
  .option('--keep', 'keep the folder with logs and databases', false)
  .option('--log-level <level>', 'debug, info, warn or error', 'info')
  .action(demo);

async function demo(options: DemoOptions): Promise<void> {
  const home = await mkdtemp(path.join(tmpdir(), 'mainstay-demo-'));
  const began = performance.now();
  const tell = (line: string): void =>
    console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`);
  let stack: Stack | undefined;
  let story: Story | undefined;
  let result: StoryResult | undefined;
  try {
    stack = await Stack.start({ home, tell, logLevel: options.logLevel });
    story = new Story(stack, tell);
    result = await story.play();
  } catch (error) {
    console.error(`the story broke off: ${errorText(error)}`);
  } finally {
    await story?.machine?.stop().catch((error: unknown) => tell(`stopping the agency: ${errorText(error)}`));
    await stack?.stop();
    if (options.keep || result?.ok !== true) console.log(`logs and databases are kept in ${home}`);
    else await rm(home, { recursive: true, force: true });
  }
  if (story) print(story, result);
  const answer = result ?? {
    ok: false,
    secondsToFirstWrite: null,
    acknowledged: 0,
    lost: 0,
    regionalLagBytes: null,
    fencedOldPrimary: false,
    archive: null,
    seconds: (performance.now() - began) / 1000,
  };
  if (options.json) console.log(JSON.stringify(answer));
  process.exitCode = answer.ok ? 0 : 1;
}

function print(story: Story, result: StoryResult | undefined): void {
  console.log('\n  seconds  chapter');
  for (const { name, seconds } of story.chapters) console.log(`${seconds.toFixed(1).padStart(9)}  ${name}`);
  if (result) {
    console.log(`
  declaration to first accepted write   ${result.secondsToFirstWrite?.toFixed(2) ?? 'unknown'} s
  acknowledged writes                   ${result.acknowledged}
  of them lost                          ${result.lost}
  regional site was behind by           ${result.regionalLagBytes ?? 'unknown'} bytes
  old primary fenced                    ${result.fencedOldPrimary ? 'yes' : 'no'}
  files ruined by a bad script          ${result.archive.ruined}
  of them brought back                  ${result.archive.broughtBack}, in ${result.archive.secondsToRestore.toFixed(1)} s
  recovery points proven by a restore   ${result.archive.proven}
`);
  }
  for (const fault of story.broken) console.log(`  DID NOT HOLD: ${fault}`);
}

await program.parseAsync();
