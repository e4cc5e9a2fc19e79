/** What the process decides about its HTTP border. */
export interface HttpOptions {
  /** Where clients reach this API, for example `https://mainstay.example`: for links and the Origin check. */
  readonly publicUrl: string;
  /** Seals stored answers (see idempotency); at least 32 characters, the same in all processes. */
  readonly secret: string;
  /** For the OpenAPI document. */
  readonly title: string;
  readonly version: string;
  /** Addresses of proxies whose X-Forwarded-For is believed; none by default. */
  readonly trustedProxies?: readonly string[];
  /** Calls of one caller in a minute; 1,200 by default. */
  readonly callsPerMinute?: number;
  /** Multiplies the quotas of single routes and of refusals: for tests that sign in often. */
  readonly limitFactor?: number;
}

export const HTTP_OPTIONS = Symbol('mainstay http options');
