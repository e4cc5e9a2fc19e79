import { chmod, mkdir, rm } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';
import { DomainError, STATUS_OF_KIND } from '#libs/platform/errors';
import { UNREACHED_HEADER } from './socket-request.js';

/** Carries a fault's kind between the processes. */
export const KIND_HEADER = 'x-mainstay-error-kind';

/** Answers a fault as `{code, message}`; what is not meant for others becomes `internal`. */
export function answerFault(response: http.ServerResponse, error: unknown, unreached = false): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const known = error instanceof DomainError;
  response.writeHead(known ? STATUS_OF_KIND[error.kind] : 500, {
    'content-type': 'application/json',
    [KIND_HEADER]: known ? error.kind : 'internal',
    ...(unreached ? { [UNREACHED_HEADER]: '1' } : {}),
  });
  response.end(
    JSON.stringify(
      known
        ? { code: error.code, message: error.message }
        : { code: 'internal', message: 'This could not be done. The log says why.' },
    ),
  );
}

/** An HTTP server on a unix socket that only its owner can open; a socket left behind by a killed process is replaced. */
export class SocketServer {
  private readonly server: http.Server;

  constructor(
    private readonly socketPath: string,
    handler: (request: http.IncomingMessage, response: http.ServerResponse) => Promise<void>,
    onFault: (error: unknown, request: http.IncomingMessage) => void,
  ) {
    this.server = http.createServer((request, response) => {
      handler(request, response).catch((error: unknown) => {
        onFault(error, request);
        answerFault(response, error);
      });
    });
    // Seeding streams and failover runs take as long as they take; whoever asks sets the limit.
    this.server.requestTimeout = 0;
    this.server.timeout = 0;
  }

  async listen(): Promise<void> {
    await mkdir(path.dirname(this.socketPath), { recursive: true });
    await rm(this.socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.server.once('error', reject);
      this.server.listen(this.socketPath, () => resolve());
    });
    await chmod(this.socketPath, 0o600);
  }

  async close(): Promise<void> {
    if (!this.server.listening) return;
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }
}
