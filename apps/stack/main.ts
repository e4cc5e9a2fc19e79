import { Command, Option } from 'commander';
import { errorText } from '#libs/platform/errors';
import { bringUpSample } from './sample/sample.js';
import { Stack } from './stack.js';

interface StartOptions {
  readonly home: string;
  readonly sample: boolean;
  readonly queueUrl?: string;
  readonly logLevel: string;
  readonly otlpEndpoint?: string;
}

const program = new Command()
  .name('npm start --')
  .description(
    'Runs all of Mainstay on this machine: embedded PostgreSQL, api, worker, a metro and a regional warm site.',
  )
  .option('--home <folder>', 'where the installation lies: data, keys, logs, mailbox', '.mainstay')
  .option('--sample', 'also bring up a sample agency: its PostgreSQL, an agent, armed protection at both sites', false)
  .option('--queue-url <address>', 'redis://… for the control plane’s queue; PostgreSQL when left out')
  .option('--log-level <level>', 'debug, info, warn or error', 'info')
  .addOption(
    new Option('--otlp-endpoint <address>', 'where traces go, such as http://127.0.0.1:4318').env(
      'OTEL_EXPORTER_OTLP_ENDPOINT',
    ),
  )
  .action(start);

async function start(options: StartOptions): Promise<void> {
  const began = performance.now();
  const tell = (stage: string): void => console.log(`  ${stage} …`);
  console.log('Mainstay');
  const stack = await Stack.start({
    home: options.home,
    logLevel: options.logLevel,
    tell,
    ...(options.queueUrl === undefined ? {} : { queueUrl: options.queueUrl }),
    ...(options.otlpEndpoint === undefined ? {} : { otlpEndpoint: options.otlpEndpoint }),
  });
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  const { installation } = stack;
  console.log(`
Ready after ${seconds} s.

  API            ${stack.apiUrl}
  its page       ${stack.apiUrl}/docs
  OpenAPI 3.1    ${stack.apiUrl}/openapi.json
  mailbox        ${stack.mailbox.directory}  (mails are caught here, not sent)
  logs           ${installation.file('logs')}
  figures        ${stack.metricsFile}  (for Prometheus's file_sd_configs)

  provider staff ${installation.record.staffEmail}
  password       ${installation.record.secrets.staffPassword}
  second factor  ${installation.record.secrets.staffAuthenticator ?? 'to be set up'}
`);
  let ending = false;
  let sample: Awaited<ReturnType<typeof bringUpSample>> | undefined;
  const end = async (): Promise<void> => {
    if (ending) return;
    ending = true;
    console.log('\nStopping …');
    await sample?.stop();
    await stack.stop();
    console.log('Stopped. Start again with npm start: nothing was lost.');
    process.exit(0);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end());
  if (options.sample) {
    sample = await bringUpSample(stack, tell);
    console.log(sample.instructions);
  }
  console.log('Ctrl-C stops everything.');
}

program.parseAsync().catch((error: unknown) => {
  console.error(`\nMainstay could not start: ${errorText(error)}`);
  process.exit(1);
});
