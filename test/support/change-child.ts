import { setTimeout as delay } from 'node:timers/promises';
import type { ReplicationNames } from '#contracts/replication';
import { SystemClock } from '#libs/platform/clock';
import { KeptConnection } from '#libs/replication/agent';
import type { PostgresWorkload } from '#libs/sites/agent';
import { LeaderChange } from '../../libs/replication/agent/leader-change.js';
import { otherRole } from '../../libs/replication/agent/sample.js';

export interface ChangeChildOptions {
  readonly workload: PostgresWorkload;
  readonly names: ReplicationNames;
  readonly leader: 'metro' | 'regional';
}

// An agent's process of its own that changes the synchronous site to and fro until it is killed, and says each time that
// it has begun: started by a test with its options as JSON.
const options = JSON.parse(process.argv[2] ?? '{}') as ChangeChildOptions;
const change = new LeaderChange(new KeptConnection(options.workload), new SystemClock());
for (let { leader } = options; ; leader = otherRole(leader)) {
  change.begin(leader, otherRole(leader), options.names);
  process.stdout.write('begun\n');
  while (change.underWay) await delay(1);
}
