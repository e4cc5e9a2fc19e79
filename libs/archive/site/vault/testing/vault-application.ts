import { NestFactory } from '@nestjs/core';
import type { INestApplicationContext } from '@nestjs/common';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { VaultModule, type VaultServerOptions } from '../../index.js';
import type { VaultStorage } from '../storage.js';

export interface VaultPlace {
  readonly directory: string;
  readonly databaseUrl: string;
}

export type VaultOptions = Partial<VaultServerOptions> & { readonly storage?: VaultStorage };

/** A vault that serves, on a port of its own choice and by itself: not as a part of the site's process. */
export async function startVault(
  name: string,
  { directory, databaseUrl }: VaultPlace,
  options: VaultOptions = {},
): Promise<INestApplicationContext> {
  class ProcessModule {}
  const app = await NestFactory.createApplicationContext(
    {
      module: ProcessModule,
      imports: [
        TelemetryModule.forProcess(name, 'silent'),
        ClockModule,
        DatabaseModule.forSite({ url: databaseUrl, applicationName: name }),
        VaultModule.forProcess({ host: '127.0.0.1', port: 0, tls: null, ...options, directory, databaseUrl }),
      ],
    },
    { logger: false },
  );
  return app.init();
}
