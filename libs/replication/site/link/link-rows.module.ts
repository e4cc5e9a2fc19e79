import { Global, Module } from '@nestjs/common';
import { SiteOutbox } from '#libs/sites/site/gateway';
import { ArmedLeases } from './armed-leases.js';
import { Forwarders } from './forwarders.js';
import { FrontDoors } from './front-doors.js';
import { SitePorts } from './site-ports.js';

/**
 * The rows that the two processes of a site share: leases, forwarders, front doors. The site process writes what is
 * wanted, the link process what it hears. Needs SiteSettings, SiteOutbox and the unit of work.
 */
@Global()
@Module({
  providers: [SiteOutbox, SitePorts, ArmedLeases, Forwarders, FrontDoors],
  exports: [ArmedLeases, Forwarders, FrontDoors, SitePorts],
})
export class LinkRowsModule {}
