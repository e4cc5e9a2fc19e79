import { createPrivateKey, type KeyObject } from 'node:crypto';
import type { Order } from '#contracts/sites';
import { signDocument } from '#libs/link';

/** Signs orders with the provider's key; sites hold its public half. */
export class OrderSigner {
  private readonly key: KeyObject;

  /** @param privateKey Ed25519, PKCS #8, PEM. */
  constructor(privateKey: string) {
    this.key = createPrivateKey(privateKey);
  }

  /** Ed25519 over the canonical JSON of everything but the signature. */
  sign(unsigned: Omit<Order, 'signature'>): Order {
    return { ...unsigned, signature: signDocument(unsigned, this.key) };
  }
}
