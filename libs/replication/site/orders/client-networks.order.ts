import { type ClientNetworks, clientNetworksOrder } from '#contracts/replication';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { FrontDoors } from '../link/index.js';

/** Opens and closes the front door to clients' networks; what it leads to is not its business. */
@CarriesOut(clientNetworksOrder)
export class ClientNetworksOrderHandler implements OrderHandler<ClientNetworks> {
  constructor(private readonly doors: FrontDoors) {}

  async carryOut({ payload }: ReceivedOrder<ClientNetworks>): Promise<void> {
    await this.doors.admit(payload.workloadId, payload.clientNetworks);
  }
}
