import path from 'node:path';
import { LARGE_BUFFERS } from '#libs/platform/config';
import type { EmbeddedDatabase } from './embedded-database.js';
import { compileCache } from './entry-points.js';
import { type Installation, SITE_KEYS, type SiteKey } from './installation.js';
import type { StackKeys } from './keys.js';

/** Where the metro and the regional site of this machine pretend to be: both in Washington State, 290 km apart. */
export const SITE_PLACES = {
  metro: { name: 'Olympia metro', latitude: 47.0379, longitude: -122.9007, hazardZones: ['puget-sound-lowland'] },
  regional: { name: 'Wenatchee regional', latitude: 47.4235, longitude: -120.3103, hazardZones: ['cascades-east'] },
} as const;

/** First and last port that each site gives to standbys, forwarders and front doors. */
const PORTS: Record<SiteKey, readonly [first: number, last: number]> = {
  metro: [24_000, 24_999],
  regional: [25_000, 25_999],
};

const QUIET = { NODE_ENV: 'production', NODE_NO_WARNINGS: '1' };

export interface EnvironmentOptions {
  /** `postgres` (the embedded default) or a `redis://` address for the control plane's queue. */
  readonly queueUrl?: string;
  readonly logLevel: string;
  /** Base address of an OTLP/HTTP receiver for traces; none are made without it. */
  readonly otlpEndpoint?: string;
}

/** The settings of each process: paths of secrets, never secrets. */
export class StackEnvironment {
  constructor(
    private readonly installation: Installation,
    private readonly database: EmbeddedDatabase,
    private readonly keys: StackKeys,
    private readonly options: EnvironmentOptions,
  ) {}

  private get common(): Record<string, string> {
    const { otlpEndpoint } = this.options;
    return {
      ...QUIET,
      LOG_LEVEL: this.options.logLevel,
      NODE_COMPILE_CACHE: compileCache(),
      ...(otlpEndpoint === undefined ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint }),
    };
  }

  private get control(): Record<string, string> {
    return {
      ...this.common,
      ENVIRONMENT_NAME: 'stack',
      PUBLIC_URL: this.installation.apiUrl,
      TENANT_DATABASE_URL: this.database.controlUrl('tenant'),
      PROVIDER_DATABASE_URL: this.database.controlUrl('provider'),
      QUEUE_URL: this.options.queueUrl ?? this.database.controlUrl('queue'),
      PGPASSFILE: this.database.passfile('control'),
      ORDER_SIGNING_KEY_FILE: this.keys.orderSigning.privateKeyFile,
      CONTROL_TLS_CERT_FILE: this.keys.control.certificateFile,
      CONTROL_TLS_KEY_FILE: this.keys.control.privateKeyFile,
      CONTROL_TLS_CA_FILE: this.keys.authorityFile,
    };
  }

  api(): Record<string, string> {
    return {
      ...this.control,
      API_HOST: '127.0.0.1',
      API_PORT: String(this.installation.record.apiPort),
      SESSION_SECRET_FILE: this.keys.sessionSecretFile,
    };
  }

  worker(): Record<string, string> {
    return {
      ...this.control,
      SMTP_URL: `smtp://127.0.0.1:${this.installation.record.smtpPort}`,
      MAIL_FROM: 'Mainstay <mainstay@provider.example>',
    };
  }

  private site(key: SiteKey): Record<string, string> {
    const [first, last] = PORTS[key];
    const { id } = this.installation.record.sites[key];
    return {
      ...this.common,
      SITE_ID: id,
      SITE_NAME: SITE_PLACES[key].name,
      SITE_DIRECTORY: this.installation.file(`site-${key}`),
      SITE_DATABASE_URL: this.database.siteUrl(key),
      SITE_QUEUE_URL: this.database.siteUrl(key),
      PGPASSFILE: this.database.passfile(key),
      LINK_SOCKET: this.socket(`link-${key}`),
      SITE_SOCKET: this.socket(`site-${key}`),
      SITE_PRIVATE_KEY_FILE: this.keys.sites[key].identity.privateKeyFile,
      FRONT_DOOR_HOST: '127.0.0.1',
      SITE_PORTS: `${first}-${last}`,
    };
  }

  siteJobs(key: SiteKey): Record<string, string> {
    const { orders } = this.keys.sites[key];
    const { vaultPort } = this.installation.record.sites[key];
    return {
      ...this.site(key),
      ...LARGE_BUFFERS,
      VAULT_HOST: '127.0.0.1',
      VAULT_PORT: String(vaultPort),
      VAULT_URL: `https://127.0.0.1:${vaultPort}/`,
      SITE_ORDER_HOST: '127.0.0.1',
      SITE_ORDER_PORT: String(this.installation.record.sites[key].orderPort),
      SITE_TLS_CERT_FILE: orders.certificateFile,
      SITE_TLS_KEY_FILE: orders.privateKeyFile,
      CONTROL_CA_FILE: this.keys.authorityFile,
      ORDER_PUBLIC_KEY_FILE: this.keys.orderSigning.publicKeyFile,
    };
  }

  link(key: SiteKey): Record<string, string> {
    const { gateway } = this.keys.sites[key];
    return {
      ...this.site(key),
      GATEWAY_HOST: '127.0.0.1',
      GATEWAY_PORT: String(this.installation.record.sites[key].gatewayPort),
      GATEWAY_CERT_FILE: gateway.certificateFile,
      GATEWAY_KEY_FILE: gateway.privateKeyFile,
    };
  }

  socket(name: string): string {
    return path.join(this.installation.socketDirectory, `${name}.sock`);
  }

  /** Every place of the installation that a full start needs. */
  get siteKeys(): readonly SiteKey[] {
    return SITE_KEYS;
  }
}
