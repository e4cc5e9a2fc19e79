import type { AgencyMachine } from '../../apps/stack/sample/agency-machine.js';
import type { SiteKey } from '../../apps/stack/installation.js';
import type { Stack, StackProcess } from '../../apps/stack/stack.js';
import type { ChaosProxy } from '../support/chaos-proxy.js';
import type { SeededRandom } from './random.js';

export interface World {
  readonly stack: Stack;
  readonly machine: AgencyMachine;
  readonly lines: Readonly<Record<SiteKey, ChaosProxy>>;
}

/** Something that goes wrong, and how it ends. */
export interface Fault {
  readonly name: string;
  begin(): Promise<void> | void;
  end(): Promise<void> | void;
}

const KILLABLE: readonly [StackProcess, ...StackProcess[]] = [
  'api',
  'worker',
  'site metro',
  'site regional',
  'link metro',
  'link regional',
];
const FREEZABLE: readonly [StackProcess, ...StackProcess[]] = [
  'worker',
  'site metro',
  'site regional',
  'link regional',
];
type Kind = 'kill' | 'freeze' | 'partition' | 'cut' | 'kill-agent';
/** Kills and partitions twice: they find the most. */
const KINDS: readonly [Kind, ...Kind[]] = ['kill', 'kill', 'freeze', 'partition', 'partition', 'cut', 'kill-agent'];
const SITES: readonly [SiteKey, SiteKey] = ['metro', 'regional'];

/** One fault, drawn at random: kills, freezes, and lines that drop packets or are cut. */
export function drawFault(random: SeededRandom, world: World): Fault {
  switch (random.pick(KINDS)) {
    case 'kill':
      return kill(world, random.pick(KILLABLE));
    case 'freeze':
      return freeze(world, random.pick(FREEZABLE));
    case 'partition':
      return partition(world, random.pick(SITES));
    case 'cut':
      return cut(world, random.pick(SITES));
    case 'kill-agent':
      return killAgent(world);
  }
}

const kill = ({ stack }: World, name: StackProcess): Fault => ({
  name: `kill -9 ${name}`,
  begin: () => stack.process(name).signal('SIGKILL'),
  end: () => stack.process(name).ready(60_000),
});

const freeze = ({ stack }: World, name: StackProcess): Fault => ({
  name: `freeze ${name}`,
  begin: () => stack.process(name).signal('SIGSTOP'),
  end: () => stack.process(name).signal('SIGCONT'),
});

const partition = ({ lines }: World, site: SiteKey): Fault => ({
  name: `packets to the ${site} site are dropped`,
  begin: () => lines[site].stall(),
  end: () => lines[site].resume(),
});

const cut = ({ lines }: World, site: SiteKey): Fault => ({
  name: `connections to the ${site} site are reset`,
  begin: () => lines[site].cut(),
  end: () => undefined,
});

const killAgent = ({ machine }: World): Fault => ({
  name: 'kill -9 agent',
  begin: () => machine.agent.signal('SIGKILL'),
  end: () => undefined,
});
