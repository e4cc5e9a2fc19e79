import { Injectable } from '@nestjs/common';
import type { RunStep } from '#contracts/failover';

/** Told at each edge of a step, once it is durable. Does nothing; the tests' own kills the process there. */
@Injectable()
export class StepBoundaries {
  async reached(_runId: string, _step: RunStep, _edge: 'begun' | 'worked' | 'ended'): Promise<void> {}
}
