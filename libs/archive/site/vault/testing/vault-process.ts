import { NestFactory } from '@nestjs/core';
import { DatabaseModule } from '#libs/platform/database';
import { ClockModule, TelemetryModule } from '#libs/platform/nest';
import { VaultModule, VaultService } from '../../index.js';

export interface VaultProcessOptions {
  readonly directory: string;
  readonly databaseUrl: string;
}

// A vault in a process of its own, to be killed: started by a test with its options as JSON; says its port.
const { directory, databaseUrl } = JSON.parse(process.argv[2] ?? '{}') as VaultProcessOptions;
class ProcessModule {}
const app = await NestFactory.createApplicationContext(
  {
    module: ProcessModule,
    imports: [
      TelemetryModule.forProcess('vault process', 'silent'),
      ClockModule,
      DatabaseModule.forSite({ url: databaseUrl, applicationName: 'vault process' }),
      VaultModule.forProcess({ host: '127.0.0.1', port: 0, tls: null, directory, databaseUrl }),
    ],
  },
  { logger: false },
);
await app.init();
process.stdout.write(`${app.get(VaultService).port}\n`);
