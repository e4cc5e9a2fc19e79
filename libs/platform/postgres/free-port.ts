import { createServer } from 'node:net';

/**
 * A TCP port of the loopback address that was free a moment ago. Only for servers that cannot bind port 0 themselves:
 * another program may take it meanwhile, so be ready to try again.
 */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.unref();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => {
        if (address && typeof address === 'object') resolve(address.port);
        else reject(new Error('the system gave no port'));
      });
    });
  });
}
