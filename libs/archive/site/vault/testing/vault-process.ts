import { NestFactory } from '@nestjs/core';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { VaultModule, type VaultServerOptions, VaultService } from '../../index.js';

/** Port and TLS as {@link VaultServerOptions} has them: a free one, and none, when left out. */
export interface VaultProcessOptions extends Partial<Pick<VaultServerOptions, 'port' | 'tls'>> {
  readonly directory: string;
  readonly databaseUrl: string;
}

// A vault in a process of its own, to be killed or measured: started with its options as JSON; says its port.
const { directory, databaseUrl, port = 0, tls = null } = JSON.parse(process.argv[2] ?? '{}') as VaultProcessOptions;
class ProcessModule {}
const app = await NestFactory.createApplicationContext(
  {
    module: ProcessModule,
    imports: [
      TelemetryModule.forProcess('vault process', 'silent'),
      ClockModule,
      DatabaseModule.forSite({ url: databaseUrl, applicationName: 'vault process' }),
      VaultModule.forProcess({ host: '127.0.0.1', port, tls, directory, databaseUrl }),
    ],
  },
  { logger: false },
);
await app.init();
process.stdout.write(`${app.get(VaultService).port}\n`);
