import { Test } from '@nestjs/testing';
import { StepBoundaries } from '#libs/failover/site';
import { siteModule, type SiteModuleHome } from './site-module.js';

export interface SiteChildOptions {
  readonly home: SiteModuleHome;
  /** Where the process kills itself with -9: `promote/worked`. It goes on for ever when null. */
  readonly dieAt: string | null;
}

class Deadly extends StepBoundaries {
  constructor(private readonly at: string | null) {
    super();
  }

  override async reached(_runId: string, step: string, edge: string): Promise<void> {
    if (`${step}/${edge}` !== this.at) return;
    process.kill(process.pid, 'SIGKILL');
    // Nothing may follow: the signal is delivered when the event loop turns.
    await new Promise(() => undefined);
  }
}

// A site process of its own, with neither a link nor another site: started by a test with its options as JSON.
const options = JSON.parse(process.argv[2] ?? '{}') as SiteChildOptions;
const module = await Test.createTestingModule({ imports: [siteModule(options.home, 'warn')] })
  .overrideProvider(StepBoundaries)
  .useValue(new Deadly(options.dieAt))
  .compile();
await module.init();
process.stdout.write('started\n');
