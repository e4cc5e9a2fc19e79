import type { PeerSite } from '#contracts/sites';
import { identityFromPem, PeerDialer } from '#libs/link';

/** The links to other sites' gateways, dialled when first needed. */
export class PeerDialers {
  private readonly dialers = new Map<string, PeerDialer>();
  private readonly identity;

  constructor(
    private readonly siteId: string,
    /** Ed25519, PKCS #8, PEM. */
    privateKey: string,
    private readonly version: string,
  ) {
    this.identity = identityFromPem(privateKey);
  }

  get({ siteId, host, port, certificateFingerprint }: PeerSite): PeerDialer {
    const key = [siteId, host, port, certificateFingerprint].join('|');
    const known = this.dialers.get(key);
    if (known) return known;
    const peer = { host, port, certificateFingerprint };
    const dialer = new PeerDialer({ siteId: this.siteId, identity: this.identity, version: this.version, peer });
    this.dialers.set(key, dialer);
    return dialer;
  }

  async close(): Promise<void> {
    await Promise.all([...this.dialers.values()].map((dialer) => dialer.close()));
  }
}
