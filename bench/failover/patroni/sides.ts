import type { FailoverSide } from '../side.js';
import { PatroniCluster } from './cluster.js';
import type { PatroniNode } from './node.js';

/** Patroni's own notice of a lost leader takes up to ttl + loop_wait; twice that is a fault. */
const FIRST_WRITE_TIMEOUT_MS = 80_000;

/** Breaks the leader, gives the order if there is one, and answers from when the time counts and when it is carried out. */
type Break = (leader: PatroniNode, replica: PatroniNode) => Promise<{ began: number; carriedOut: Promise<void> }>;

/**
 * The command after kill -9: the leader's PostgreSQL dies, its Patroni lives and takes the order at once. With the whole
 * machine lost the same command waits for the leader key's ttl (it answers 503 after 20 s), which is the automatic case.
 */
const commandAfterKill: Break = async (leader, replica) => {
  await leader.killPostgres();
  return order(leader, replica);
};

/** The command as an operator gives it while all is well: the leader checkpoints and stops by itself. */
const plannedCommand: Break = (leader, replica) => Promise.resolve(order(leader, replica));

/** Nobody orders anything: the machine is lost, and the other one notices. */
const automatic: Break = async (leader) => {
  await leader.killAll();
  return { began: performance.now(), carriedOut: Promise.resolve() };
};

/** By the REST API, which `patronictl failover` calls too, so that the start of a Python program does not count. */
function order(leader: PatroniNode, replica: PatroniNode): { began: number; carriedOut: Promise<void> } {
  const began = performance.now();
  const carriedOut = leader.failover(leader.name, replica.name).then(({ status, answer }) => {
    if (status !== 200) throw new Error(`Patroni refused the failover: ${status} ${answer}`);
  });
  return { began, carriedOut };
}

/** One way in which Patroni fails over. The roles change hands with each round. */
class PatroniSide implements FailoverSide {
  constructor(
    readonly name: string,
    private readonly cluster: PatroniCluster,
    private readonly breakIt: Break,
  ) {}

  prepare(): Promise<void> {
    return this.cluster.start();
  }

  async round(): Promise<number> {
    const { leader, replica } = await this.cluster.settled();
    const clients = this.cluster.clients(leader, replica);
    try {
      await clients.begin(leader.port);
      const { began, carriedOut } = await this.breakIt(leader, replica);
      const first = clients.firstWrite(replica.port, began, FIRST_WRITE_TIMEOUT_MS);
      const [at] = await Promise.all([first, carriedOut]);
      return (at - began) / 1000;
    } finally {
      await clients.end();
    }
  }

  close(): Promise<void> {
    return this.cluster.close();
  }
}

/** Patroni's ways, on one cluster, to be measured one after the other. */
export function patroniSides(): Record<'command' | 'planned' | 'automatic', FailoverSide> {
  const cluster = new PatroniCluster();
  return {
    command: new PatroniSide('Patroni, its failover command after kill -9 of PostgreSQL', cluster, commandAfterKill),
    planned: new PatroniSide('Patroni, its failover command with nothing lost', cluster, plannedCommand),
    automatic: new PatroniSide('Patroni, automatic with its defaults, machine lost', cluster, automatic),
  };
}
