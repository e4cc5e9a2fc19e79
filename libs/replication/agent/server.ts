import { clusterVersion, findPostgres, PostgresServer } from '#libs/platform/postgres';
import type { PostgresWorkload } from '#libs/sites/agent';
import { ReplicationRefusedError } from './errors.js';

/**
 * The server of a workload as processes and files of this machine; needs no connection.
 *
 * @throws ReplicationRefusedError when its data directory is not readable here.
 */
export async function localServer(workload: PostgresWorkload): Promise<PostgresServer> {
  const version = await clusterVersion(workload.dataDirectory);
  if (version === undefined) {
    throw new ReplicationRefusedError(
      'data-directory-unreadable',
      `The agent cannot read ${workload.dataDirectory}. Correct "dataDirectory" in agent.json, and run the agent on the server's machine as the user postgres or as root.`,
    );
  }
  const searchPath = workload.binDirectory === undefined ? {} : { searchPath: [workload.binDirectory] };
  return PostgresServer.at(await findPostgres({ version, ...searchPath }), workload.dataDirectory);
}
