import { provideCollector } from '#libs/platform/nest';
import { defineGauge } from '#libs/platform/telemetry';
import { VaultService } from './vault.module.js';

export const vaultFree = defineGauge(
  'mainstay_vault_free_bytes',
  'Room left on the file system of the vault; absent for a vault in a bucket.',
);
export const vaultSize = defineGauge(
  'mainstay_vault_size_bytes',
  'Size of the file system of the vault; absent for a vault in a bucket.',
);

/** By itself: a file system that hangs must not take the figures of the database with it. */
export const vaultDiskCollector = provideCollector({
  name: 'vault-disk',
  metrics: [vaultFree, vaultSize],
  from: [VaultService],
  collect: async (vault) => {
    const room = await vault.room();
    if (!room) return [];
    return [
      { metric: vaultFree, labels: {}, value: room.freeBytes },
      { metric: vaultSize, labels: {}, value: room.sizeBytes },
    ];
  },
});
