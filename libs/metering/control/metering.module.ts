import { Module } from '@nestjs/common';
import { Usage } from './usage.service.js';

@Module({ providers: [Usage], exports: [Usage] })
export class MeteringModule {}
