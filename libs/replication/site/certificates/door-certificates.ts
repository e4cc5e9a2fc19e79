import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { Inject, Injectable } from '@nestjs/common';
import { type CertificateRequest, issueCertificate } from '#libs/link';
import { Clock } from '#libs/platform/clock';
import { AppLogger } from '#libs/platform/nest';
import { SITE_DRIVER, type SiteDriver } from '#libs/sites/site';
import { SiteSettings } from '#libs/sites/site/gateway';
import { DoorAuthorities } from './door-authorities.js';

const YEARS = 1;
/** A third of its life: a site that is out of order for weeks still comes back with a certificate that holds. */
const RENEWED_BEFORE_MS = 120 * 86_400_000;
/** RFC 5280, ub-common-name. */
const COMMON_NAME_MAX = 64;

/**
 * What a standby shows to clients that ask for TLS: a certificate of the front door's name. After a failover clients reach
 * it by the front door, which passes their TLS on as it is.
 */
@Injectable()
export class DoorCertificates {
  /** Workloads whose certificate could not be kept at the last look. */
  private readonly failing = new Set<string>();

  constructor(
    private readonly authorities: DoorAuthorities,
    private readonly settings: SiteSettings,
    @Inject(SITE_DRIVER) private readonly driver: SiteDriver,
    private readonly clock: Clock,
    private readonly logger: AppLogger,
  ) {}

  /**
   * Gives the standby a certificate where it has none, or one that ends soon or has another name. A running server goes
   * on with its connections. It never throws: what fails is logged, an alarm, and tried again; it must keep nothing else waiting.
   */
  async keep(workloadId: string): Promise<void> {
    try {
      if ((await this.driver.phase(workloadId)) !== undefined) await this.renew(workloadId);
      this.failing.delete(workloadId);
    } catch (error) {
      const said = this.failing.has(workloadId);
      this.failing.add(workloadId);
      if (!said) this.logger.log.warn({ workloadId, err: error }, 'the certificate of a standby could not be kept');
    }
  }

  isFailing(workloadId: string): boolean {
    return this.failing.has(workloadId);
  }

  /** PEM of what signs for the workload's door; null while there is none, or none that can be used. */
  authority(workloadId: string): Promise<string | null> {
    // What is wrong with its file is an alarm, by keeping the certificate.
    return this.authorities.certificate(workloadId).catch(() => null);
  }

  private async renew(workloadId: string): Promise<void> {
    const authority = await this.authorities.ensure(workloadId);
    const served = await this.driver.certificate(workloadId);
    if (served !== undefined && this.holds(served, authority.certificate)) return;
    const issued = await issueCertificate(authority, this.request());
    await this.driver.useCertificate(workloadId, { certificate: issued.certificate, key: issued.privateKey });
    this.logger.log.info({ workloadId }, 'the standby has a new certificate');
  }

  private request(): CertificateRequest {
    const { frontDoorHost: host } = this.settings;
    const names = isIP(host) ? { ipAddresses: [host] } : { dnsNames: [host] };
    // libpq before 15 looks for an address in the common name.
    const commonName = host.length > COMMON_NAME_MAX ? 'Mainstay front door' : host;
    return { commonName, ...names, usages: ['server'], years: YEARS };
  }

  private holds(served: string, authority: string): boolean {
    const certificate = new X509Certificate(served);
    const { frontDoorHost: host } = this.settings;
    const named = isIP(host) ? certificate.checkIP(host) : certificate.checkHost(host);
    const msLeft = certificate.validToDate.getTime() - this.clock.now().getTime();
    return (
      named !== undefined && msLeft > RENEWED_BEFORE_MS && certificate.verify(new X509Certificate(authority).publicKey)
    );
  }
}
