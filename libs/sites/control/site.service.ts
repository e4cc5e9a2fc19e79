import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type { PeerSite } from '#contracts/sites';
import { type Actor, Audit } from '#libs/audit/control';
import type { ProviderTransaction, Transaction } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { distanceMiles, judge, type Location, sharedHazards } from './geography.js';
import { SiteInUseError, SiteKnownError, SiteNameTakenError } from './sites.errors.js';

/** What staff register of a site. */
export interface SiteInput {
  readonly name: string;
  readonly region: string;
  readonly latitude: number;
  readonly longitude: number;
  readonly hazardZones: readonly string[];
  readonly capacity: { readonly cpus: number; readonly memoryBytes: number; readonly diskBytes: number };
  readonly orderEndpoint: Endpoint;
  readonly gateway: Endpoint;
  /** Ed25519, SPKI, PEM: with it the site signs its hello to other sites. */
  readonly publicKey: string;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** SHA-256 of its certificate. */
  readonly certificateFingerprint: string;
}

/** A site as staff see it. */
export interface SiteView extends SiteInput {
  readonly id: string;
  readonly createdAt: Date;
  readonly retiredAt: Date | null;
  /** `silent` once its newest snapshot is ten seconds old. */
  readonly state: 'connected' | 'silent' | 'never';
  readonly seenAt: Date | null;
  readonly measured: unknown;
  readonly pendingOrders: number;
  readonly unappliedResults: number;
  readonly lastError: string | null;
}

/** A site as an agency sees it, with what it could be for a place. */
export interface EligibleSite {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  readonly distanceMiles: number | null;
  readonly roundTripMilliseconds: number | null;
  readonly eligibleAs: readonly ('metro' | 'regional')[];
  readonly reasons: readonly string[];
}

/** A site as other domains need it: gateway and place. */
export interface SiteFacts extends Location {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  readonly hazardZones: readonly string[];
  readonly peer: PeerSite;
}

interface PlaceRow extends Location {
  readonly id: string;
  readonly name: string;
  readonly region: string;
  readonly hazardZones: string[];
  readonly gatewayHost: string;
  readonly gatewayPort: number;
  readonly gatewayFingerprint: string;
  readonly publicKey: string;
}

interface SiteRow extends SiteView {
  readonly orderHost: string;
  readonly orderPort: number;
  readonly orderFingerprint: string;
  readonly gatewayHost: string;
  readonly gatewayPort: number;
  readonly gatewayFingerprint: string;
}

const PLACE_COLUMNS = `site.id, site.name, site.region, site.latitude, site.longitude, site.hazard_zones AS "hazardZones",
  site.gateway_host AS "gatewayHost", site.gateway_port AS "gatewayPort",
  site.gateway_certificate_fingerprint AS "gatewayFingerprint", site.public_key AS "publicKey"`;

/** The provider's warm sites. */
@Injectable()
export class Sites {
  constructor(private readonly audit: Audit) {}

  /**
   * Registers a site under the id that it was set up with, or a new one.
   *
   * @throws SiteNameTakenError, SiteKnownError
   */
  async register(
    tx: ProviderTransaction,
    input: SiteInput,
    actor: Actor,
    id: string = randomUUID(),
  ): Promise<SiteView> {
    const [known] = await tx.query(`SELECT id FROM site WHERE id = $1`, [id]);
    if (known) throw new SiteKnownError(id);
    await this.nameIsFree(tx, input.name, id);
    await tx.execute(
      `INSERT INTO site (id, name, region, latitude, longitude, hazard_zones, capacity, order_host, order_port,
                         order_certificate_fingerprint, gateway_host, gateway_port, gateway_certificate_fingerprint, public_key)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
      [id, ...values(input)],
    );
    await tx.execute(`INSERT INTO site_state (site_id) VALUES ($1)`, [id]);
    await this.record(tx, actor, 'site.registered', id, { name: input.name, region: input.region });
    return this.get(tx, id);
  }

  /** Changes what is given. @throws NotFoundError, SiteNameTakenError */
  async change(tx: ProviderTransaction, id: string, change: Partial<SiteInput>, actor: Actor): Promise<SiteView> {
    const [locked] = await tx.query(`SELECT id FROM site WHERE id = $1 FOR UPDATE`, [id]);
    if (!locked) throw new NotFoundError('site');
    const input: SiteInput = { ...(await this.get(tx, id)), ...change };
    await this.nameIsFree(tx, input.name, id);
    await tx.execute(
      `UPDATE site SET name = $2, region = $3, latitude = $4, longitude = $5, hazard_zones = $6, capacity = $7,
              order_host = $8, order_port = $9, order_certificate_fingerprint = $10, gateway_host = $11,
              gateway_port = $12, gateway_certificate_fingerprint = $13, public_key = $14, version = version + 1
        WHERE id = $1`,
      [id, ...values(input)],
    );
    await this.record(tx, actor, 'site.changed', id, { changed: Object.keys(change) });
    return this.get(tx, id);
  }

  /** Takes a site out of the choice; `inUse` counts what is still protected or archived there. @throws SiteInUseError */
  async retire(tx: ProviderTransaction, id: string, inUse: number, actor: Actor): Promise<SiteView> {
    if (inUse > 0) throw new SiteInUseError(inUse);
    const changed = await tx.execute(`UPDATE site SET retired_at = coalesce(retired_at, now()) WHERE id = $1`, [id]);
    if (changed === 0) throw new NotFoundError('site');
    await this.record(tx, actor, 'site.retired', id, {});
    return this.get(tx, id);
  }

  async list(tx: ProviderTransaction): Promise<SiteView[]> {
    const rows = await tx.query<SiteRow>(`${SITE_QUERY} ORDER BY site.name, site.id`);
    return rows.map(toView);
  }

  /** @throws NotFoundError */
  async get(tx: ProviderTransaction, id: string): Promise<SiteView> {
    const [row] = await tx.query<SiteRow>(`${SITE_QUERY} WHERE site.id = $1`, [id]);
    if (!row) throw new NotFoundError('site');
    return toView(row);
  }

  /** The facts of these sites, retired ones too, by id. */
  async facts(tx: Transaction, ids: readonly string[]): Promise<Map<string, SiteFacts>> {
    const rows = await tx.query<PlaceRow>(`SELECT ${PLACE_COLUMNS} FROM site WHERE id = ANY($1)`, [ids]);
    return new Map(rows.map((row) => [row.id, toFacts(row)]));
  }

  /** Sites in operation with what they could be for a place; the nearest first, or by name while it is unknown. */
  async eligible(
    tx: Transaction,
    place: Location | null,
    agentId: string | null,
  ): Promise<(EligibleSite & SiteFacts)[]> {
    const rows = await tx.query<PlaceRow & { roundTrip: number | null }>(
      `SELECT ${PLACE_COLUMNS}, link.round_trip_milliseconds AS "roundTrip"
         FROM site LEFT JOIN agent_site link ON link.site_id = site.id AND link.agent_id = $1
        WHERE site.retired_at IS NULL ORDER BY site.name, site.id`,
      [agentId],
    );
    return rows
      .map((row) => assess(row, place))
      .sort((a, b) => (a.distanceMiles ?? Infinity) - (b.distanceMiles ?? Infinity));
  }

  private async nameIsFree(tx: ProviderTransaction, name: string, but: string): Promise<void> {
    const [taken] = await tx.query(
      `SELECT id FROM site WHERE lower(name) = lower($1) AND retired_at IS NULL AND id <> $2`,
      [name, but],
    );
    if (taken) throw new SiteNameTakenError(name);
  }

  private record(tx: ProviderTransaction, actor: Actor, action: string, id: string, detail: Record<string, unknown>) {
    return this.audit.record(tx, { tenantId: null, actor, action, subjectKind: 'site', subjectId: id, detail });
  }
}

const SITE_QUERY = `SELECT ${PLACE_COLUMNS}, site.capacity, site.order_host AS "orderHost", site.order_port AS "orderPort",
    site.order_certificate_fingerprint AS "orderFingerprint", site.created_at AS "createdAt",
    site.retired_at AS "retiredAt", state.received_at AS "seenAt", state.capacity AS measured,
    state.last_error AS "lastError",
    CASE WHEN state.received_at IS NULL THEN 'never'
         WHEN state.received_at < now() - interval '10 seconds' THEN 'silent' ELSE 'connected' END AS state,
    (SELECT count(*)::int FROM outgoing_order o WHERE o.site_id = site.id AND o.state = 'pending') AS "pendingOrders",
    (SELECT count(*)::int FROM unapplied_result u WHERE u.site_id = site.id) AS "unappliedResults"
  FROM site JOIN site_state state ON state.site_id = site.id`;

const values = (input: SiteInput): unknown[] => [
  input.name,
  input.region,
  input.latitude,
  input.longitude,
  input.hazardZones,
  JSON.stringify(input.capacity),
  input.orderEndpoint.host,
  input.orderEndpoint.port,
  input.orderEndpoint.certificateFingerprint,
  input.gateway.host,
  input.gateway.port,
  input.gateway.certificateFingerprint,
  input.publicKey,
];

function toView(row: SiteRow): SiteView {
  const { orderHost, orderPort, orderFingerprint, gatewayHost, gatewayPort, gatewayFingerprint, ...rest } = row;
  return {
    ...rest,
    orderEndpoint: { host: orderHost, port: orderPort, certificateFingerprint: orderFingerprint },
    gateway: { host: gatewayHost, port: gatewayPort, certificateFingerprint: gatewayFingerprint },
  };
}

function toFacts(row: PlaceRow): SiteFacts {
  const { id, name, region, latitude, longitude, hazardZones, publicKey } = row;
  const peer: PeerSite = {
    siteId: id,
    host: row.gatewayHost,
    port: row.gatewayPort,
    certificateFingerprint: row.gatewayFingerprint,
    publicKey,
  };
  return { id, name, region, latitude, longitude, hazardZones, peer };
}

function assess(row: PlaceRow & { roundTrip: number | null }, place: Location | null): EligibleSite & SiteFacts {
  const miles = place === null ? null : distanceMiles(place, row);
  const { metro, reasons } = judge(miles, row.roundTrip);
  return {
    ...toFacts(row),
    distanceMiles: miles === null ? null : Math.round(miles * 10) / 10,
    roundTripMilliseconds: row.roundTrip,
    eligibleAs: metro ? ['metro', 'regional'] : ['regional'],
    reasons,
  };
}

/** What a person should know of a pair: one disaster must not strike both. */
export function pairWarnings(metro: SiteFacts | undefined, regional: SiteFacts | undefined): string[] {
  if (!metro || !regional) return ['Only one site holds a copy: a second site is recommended.'];
  const shared = sharedHazards(metro.hazardZones, regional.hazardZones);
  return shared.length === 0
    ? []
    : [
        `${metro.name} and ${regional.name} lie in the same hazard zone (${shared.join(', ')}): one event could strike both.`,
      ];
}
