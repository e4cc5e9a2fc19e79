import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { KMSClient } from '@aws-sdk/client-kms';
import { S3Client } from '@aws-sdk/client-s3';
import { waitFor } from '#libs/platform/clock';
import { childEnvironment } from '#libs/platform/config';
import { freePort } from '#libs/platform/postgres';

/** Where tools/object-storage.mjs, which npm's pretest runs, puts it. */
const PROGRAM = path.resolve('node_modules/.cache/object-storage/bin/moto_server');

/** moto, a server that speaks S3 and AWS KMS, from Python's package index. */
export class S3Server {
  private constructor(
    private readonly child: ChildProcess,
    private readonly endpoint: string,
  ) {}

  static async start(): Promise<S3Server> {
    const port = await freePort();
    const child = spawn(PROGRAM, ['-H', '127.0.0.1', '-p', String(port)], {
      stdio: 'ignore',
      env: childEnvironment({}),
    });
    const endpoint = `http://127.0.0.1:${port}`;
    const failed = once(child, 'error').then(([error]) => Promise.reject(error as Error));
    const answers = waitFor(
      'the S3 server to answer',
      () =>
        fetch(endpoint).then(
          ({ ok }) => ok,
          () => false,
        ),
      {
        timeoutMs: 60_000,
      },
    );
    await Promise.race([answers, failed]);
    return new S3Server(child, endpoint);
  }

  client(): S3Client {
    return new S3Client({ ...this.access, forcePathStyle: true });
  }

  keyService(): KMSClient {
    return new KMSClient(this.access);
  }

  private get access() {
    const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
    return { endpoint: this.endpoint, region: 'us-east-1', credentials, maxAttempts: 2 };
  }

  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGTERM');
    await gone;
  }
}
