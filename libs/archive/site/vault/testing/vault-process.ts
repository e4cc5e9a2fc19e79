import { VaultService, type VaultServerOptions } from '../../index.js';
import { startVault, type VaultPlace } from './vault-application.js';

/** Port and TLS as {@link VaultServerOptions} has them: a free one, and none, when left out. */
type VaultProcessOptions = VaultPlace & Partial<Pick<VaultServerOptions, 'port' | 'tls'>>;

// A vault in a process of its own, to be killed or measured: started with its options as JSON; says its port.
const options = JSON.parse(process.argv[2] ?? '{}') as VaultProcessOptions;
const app = await startVault('vault process', options, options);
process.stdout.write(`${app.get(VaultService).port}\n`);
