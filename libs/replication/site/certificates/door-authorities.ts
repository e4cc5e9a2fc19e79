import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, unlink } from 'node:fs/promises';
import path from 'node:path';
import { Injectable } from '@nestjs/common';
import { type CertificateText, createAuthority } from '#libs/link';
import { errorCode, ifPresent } from '#libs/platform/errors';
import { openPlain, withDirectory } from '#libs/platform/postgres';
import { SiteSettings } from '#libs/sites/site/gateway';
import { AuthorityUnusableError } from '../replication.errors.js';

const TEXT =
  /^(-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n)(-----BEGIN PRIVATE KEY-----\n[^-]+-----END PRIVATE KEY-----\n)$/;

/**
 * The authority that signs for one workload's front door at this site. Each workload has its own: a standby's superuser
 * can read the key of the certificate that it serves, which must mean nothing to another agency's clients. The
 * authority's own key stays in a file that only this process's user reads, in the site's folder.
 */
@Injectable()
export class DoorAuthorities {
  private readonly folder: string;

  constructor(private readonly settings: SiteSettings) {
    this.folder = path.join(settings.directory, 'authorities');
  }

  /**
   * Made at the first call, and then the same until {@link forget}: clients trust it by name.
   *
   * @throws AuthorityUnusableError; what the disk says
   */
  async ensure(workloadId: string): Promise<CertificateText> {
    return (await this.read(workloadId)) ?? this.make(workloadId);
  }

  /** PEM, for everybody to see; null as long as there is none. @throws AuthorityUnusableError */
  async certificate(workloadId: string): Promise<string | null> {
    return (await this.read(workloadId))?.certificate ?? null;
  }

  /** At the end of the protection. Safe to repeat. */
  async forget(workloadId: string): Promise<void> {
    const names = (await ifPresent(readdir(this.folder))) ?? [];
    // With those that a crash left half made.
    for (const name of names.filter((each) => each.startsWith(`${workloadId}.`))) {
      await ifPresent(unlink(path.join(this.folder, name)));
    }
  }

  private async read(workloadId: string): Promise<CertificateText | undefined> {
    const file = this.file(workloadId);
    const handle = await ifPresent(openPlain(file));
    if (!handle) return undefined;
    try {
      if (((await handle.stat()).mode & 0o077) !== 0) throw new AuthorityUnusableError(`others may read ${file}`);
      const [, certificate, privateKey] = TEXT.exec(await handle.readFile('utf8')) ?? [];
      if (certificate === undefined || privateKey === undefined)
        throw new AuthorityUnusableError(`cannot read ${file}`);
      return { certificate, privateKey };
    } finally {
      await handle.close();
    }
  }

  /** Whole or not at all; of two processes that make it at once, one wins and both have the same. */
  private async make(workloadId: string): Promise<CertificateText> {
    const made = await createAuthority(`Mainstay ${workloadId} at ${this.settings.siteId.slice(0, 8)}`);
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const fresh = path.join(this.folder, `${workloadId}.${randomUUID()}.new`);
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle
        .writeFile(made.certificate + made.privateKey)
        .finally(() => handle.sync().finally(() => handle.close()));
      await link(fresh, this.file(workloadId)).catch((error: unknown) => {
        if (errorCode(error) !== 'EEXIST') throw error;
      });
    } finally {
      await unlink(fresh);
    }
    await withDirectory(this.folder, [], (folder) => folder.sync());
    const kept = await this.read(workloadId);
    if (!kept) throw new AuthorityUnusableError(`${this.file(workloadId)} was removed while it was made`);
    return kept;
  }

  private file(workloadId: string): string {
    return path.join(this.folder, `${workloadId}.pem`);
  }
}
