/** What both processes of a site know about their site from their environment. */
export interface SiteSettingsValues {
  readonly siteId: string;
  readonly name: string;
  /** Where data directories and the driver's own files lie. */
  readonly directory: string;
  /** The address that front doors listen on and that clients are told. */
  readonly frontDoorHost: string;
  /** Unix socket of the link process: agent commands, peers, link states. */
  readonly linkSocket: string;
  /** Unix socket of the site process: peers' commands that the link hands on. */
  readonly siteSocket: string;
  /** First and last port that the site gives to forwarders, standbys and front doors. */
  readonly ports: { readonly first: number; readonly last: number };
  /** Folder of PostgreSQL's programs; found by itself when null. */
  readonly postgresBin: string | null;
}

/** Injectable form of {@link SiteSettingsValues}. */
export class SiteSettings implements SiteSettingsValues {
  readonly siteId: string;
  readonly name: string;
  readonly directory: string;
  readonly frontDoorHost: string;
  readonly linkSocket: string;
  readonly siteSocket: string;
  readonly ports: { readonly first: number; readonly last: number };
  readonly postgresBin: string | null;

  constructor(values: SiteSettingsValues) {
    this.siteId = values.siteId;
    this.name = values.name;
    this.directory = values.directory;
    this.frontDoorHost = values.frontDoorHost;
    this.linkSocket = values.linkSocket;
    this.siteSocket = values.siteSocket;
    this.ports = values.ports;
    this.postgresBin = values.postgresBin;
  }
}
