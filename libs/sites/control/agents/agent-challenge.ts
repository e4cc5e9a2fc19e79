import { createHmac, createPublicKey, hkdfSync, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { AgentChallenge } from '#contracts/sites';
import { Clock } from '#libs/platform/clock';

export const CHALLENGE_SECONDS = 60;
const RANDOM_BYTES = 16;
const HEAD_BYTES = 8 + RANDOM_BYTES;

/**
 * Challenges for agents, good for a minute of the control plane's own clock and for every api process: each is its own
 * proof (an HMAC), so nothing is stored. An agent's clock plays no part.
 */
@Injectable()
export class AgentChallenges {
  private readonly key: Buffer;

  constructor(
    private readonly clock: Clock,
    secret: string,
  ) {
    this.key = Buffer.from(hkdfSync('sha256', secret, '', 'mainstay agent challenge', 32));
  }

  issue(): AgentChallenge {
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeBigInt64BE(BigInt(this.clock.now().getTime() + CHALLENGE_SECONDS * 1_000));
    randomBytes(RANDOM_BYTES).copy(head, 8);
    const challenge = Buffer.concat([head, this.mac(head)]).toString('base64url');
    return { challenge, expiresInSeconds: CHALLENGE_SECONDS };
  }

  /** Whether it is one of ours, and not yet expired. */
  holds(challenge: string): boolean {
    const bytes = Buffer.from(challenge, 'base64url');
    if (bytes.length !== HEAD_BYTES + 32) return false;
    const head = bytes.subarray(0, HEAD_BYTES);
    if (!timingSafeEqual(this.mac(head), bytes.subarray(HEAD_BYTES))) return false;
    return head.readBigInt64BE() > BigInt(this.clock.now().getTime());
  }

  private mac(head: Buffer): Buffer {
    return createHmac('sha256', this.key).update(head).digest();
  }
}

/** The Ed25519 key of an agent, or undefined when the text holds none. */
export function readAgentKey(publicKey: string): KeyObject | undefined {
  try {
    const key = createPublicKey(publicKey);
    return key.asymmetricKeyType === 'ed25519' ? key : undefined;
  } catch {
    return undefined;
  }
}
