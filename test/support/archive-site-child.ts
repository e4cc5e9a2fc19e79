import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { AppLogger, NestLogger } from '#libs/platform/nest';
import { type ArchiveSiteHome, archiveSiteModule } from './archive-site-module.js';

// A site process of its own that archives, to be killed: started by a test with its home as JSON; its log is its output.
const home = JSON.parse(process.argv[2] ?? '{}') as ArchiveSiteHome;
const app = await NestFactory.createApplicationContext(archiveSiteModule(home, 'debug'), { bufferLogs: true });
app.useLogger(new NestLogger(app.get(AppLogger).log));
process.stdout.write('started\n');
