import { Module } from '@nestjs/common';
import { Functions } from './function.service.js';
import { Workloads } from './workload.service.js';

@Module({ providers: [Functions, Workloads], exports: [Functions, Workloads] })
export class ProtectionModule {}
