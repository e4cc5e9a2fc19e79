import { BlockList, isIPv6 } from 'node:net';
import type { FrontDoorGate, LinkLog } from '#libs/link';
import { plainAddress, sourceOf } from '#libs/platform/address';

/** Of a source, at one door: half of what the door takes altogether, for an office behind one address. */
export const CONNECTIONS_OF_A_SOURCE = 400;
/** New connections of a source: so many at once, when all come back after a failover, and so many a second after that. */
export const BURST_OF_A_SOURCE = 200;
export const RATE_OF_A_SOURCE = 50;
/** Beyond this, sources that have gone are forgotten. */
const SOURCES_KEPT = 5_000;
const LOG_EVERY_MS = 60_000;

interface Source {
  open: number;
  /** Connections that it may still make, as of `at`. */
  allowance: number;
  at: number;
}

/**
 * Who may come in at a front door: clients of the networks that the agency has listed, and of each of those only so many.
 * To the agency's server they all come from its own machine, so that its rules about addresses cannot tell them apart:
 * this is where they are told apart.
 */
export class ClientGate implements FrontDoorGate {
  private listed: { readonly text: string; readonly list: BlockList } | undefined;
  private readonly sources = new Map<string, Source>();
  private loggedAt = -Infinity;

  constructor(
    private readonly networks: () => readonly string[],
    /** Monotonic milliseconds. */
    private readonly now: () => number,
    private readonly log: LinkLog = () => undefined,
  ) {}

  allows(address: string): boolean {
    const plain = plainAddress(address);
    return this.current().check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4');
  }

  enter(address: string): boolean {
    if (!this.allows(address)) return this.turnAway(address, 'it is in none of the listed client networks');
    const source = this.source(address);
    const now = this.now();
    const gained = ((now - source.at) / 1_000) * RATE_OF_A_SOURCE;
    source.allowance = Math.min(BURST_OF_A_SOURCE, source.allowance + gained);
    source.at = now;
    if (source.open >= CONNECTIONS_OF_A_SOURCE) return this.turnAway(address, 'it has too many connections open');
    if (source.allowance < 1) return this.turnAway(address, 'it connects too often');
    source.allowance -= 1;
    source.open += 1;
    return true;
  }

  leave(address: string): void {
    const source = this.sources.get(sourceOf(address));
    if (source) source.open -= 1;
  }

  private source(address: string): Source {
    const key = sourceOf(address);
    const known = this.sources.get(key);
    if (known) return known;
    if (this.sources.size >= SOURCES_KEPT) this.forgetGone();
    const source = { open: 0, allowance: BURST_OF_A_SOURCE, at: this.now() };
    this.sources.set(key, source);
    return source;
  }

  private forgetGone(): void {
    const rested = this.now() - (BURST_OF_A_SOURCE / RATE_OF_A_SOURCE) * 1_000;
    for (const [key, { open, at }] of this.sources) if (open === 0 && at <= rested) this.sources.delete(key);
  }

  private turnAway(address: string, why: string): false {
    const now = this.now();
    if (now - this.loggedAt >= LOG_EVERY_MS) {
      this.loggedAt = now;
      this.log('info', 'a front door turned a client away', { address, why });
    }
    return false;
  }

  private current(): BlockList {
    const networks = this.networks();
    const text = networks.join(' ');
    if (this.listed?.text !== text) this.listed = { text, list: listOf(networks) };
    return this.listed.list;
  }
}

function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [base = '', prefix = ''] = network.split('/');
    list.addSubnet(base, Number(prefix), isIPv6(base) ? 'ipv6' : 'ipv4');
  }
  return list;
}
