import type { RepositoryAccess } from '#contracts/archive';
import { type AgentCommands, AgentRefusedError, type SiteCommand } from '#libs/sites/site';

/** An agent's word that it cannot read a command. */
const NOT_READ = 'agent.command-invalid';

/**
 * Gives a command with an access to a repository; to an agent that does not read it, once more without the hint at the key.
 * Sites are updated before agents, and agents of before hints refuse a command that has a field that they do not know.
 *
 * @throws AgentUnreachableError, AgentRefusedError
 */
export async function callHinted<I extends { readonly access: RepositoryAccess }, O>(
  agents: AgentCommands,
  agentId: string,
  command: SiteCommand<I, O>,
  input: I,
  options: { readonly timeoutMs: number; readonly signal?: AbortSignal },
): Promise<O> {
  try {
    return await agents.call(agentId, command, input, options);
  } catch (error) {
    const { keyHint, ...access } = input.access;
    if (keyHint === undefined || !(error instanceof AgentRefusedError) || error.code !== NOT_READ) throw error;
    return agents.call(agentId, command, { ...input, access }, options);
  }
}
