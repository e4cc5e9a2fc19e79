/** What the link process knows beside its site's settings. */
export interface GatewaySettings {
  readonly host: string;
  /** 0: a free one, for tests. */
  readonly port: number;
  /** PEM; agents and other sites pin it. */
  readonly certificate: string;
  readonly key: string;
  /** Ed25519, PKCS #8, PEM: signs this site's hello to others. */
  readonly sitePrivateKey: string;
  /** Of this software, for the other end's log. */
  readonly version: string;
}
export const GATEWAY_SETTINGS = Symbol('gateway settings');
