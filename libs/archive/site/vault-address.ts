import { Inject, Injectable } from '@nestjs/common';
import type { RepositoryAccess } from '#contracts/archive';
import { ARCHIVE_SETTINGS, type ArchiveSettings, VAULT_AUTHORITY } from './archive-settings.js';
import { VaultService } from './vault/vault.module.js';

/** Where agents, and other sites, find this site's vault. */
@Injectable()
export class VaultAddress {
  constructor(
    private readonly vault: VaultService,
    @Inject(ARCHIVE_SETTINGS) private readonly settings: ArchiveSettings,
    @Inject(VAULT_AUTHORITY) private readonly authority: string,
  ) {}

  /** Of one repository, once the vault is open. A certificate of the provider's own is known to whoever asks anyway. */
  async of(repositoryId: string): Promise<Pick<RepositoryAccess, 'url' | 'authority'>> {
    const { url, host, tls } = this.settings.vault;
    await this.vault.localPort;
    const base = url ?? `https://${host.includes(':') ? `[${host}]` : host}:${this.vault.port}`;
    return { url: `${base.replace(/\/+$/, '')}/${repositoryId}/`, authority: tls ? null : this.authority };
  }
}
