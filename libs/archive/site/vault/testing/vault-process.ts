import { VaultService } from '../../index.js';
import { startVault, type VaultPlace } from './vault-application.js';

// A vault in a process of its own, to be killed: started by a test with its place as JSON; says its port.
const app = await startVault('vault process', JSON.parse(process.argv[2] ?? '{}') as VaultPlace);
process.stdout.write(`${app.get(VaultService).port}\n`);
