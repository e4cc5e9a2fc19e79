import { Controller, Get, HttpCode, Injectable, type OnModuleDestroy } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { UnitOfWork } from '#libs/platform/database';
import { Public } from './access/access.js';
import { TemporarilyUnavailableError } from './problem/problem.js';

/** Whether this process wants requests: not before its databases answer, and no more once it is told to stop. */
@Injectable()
export class Readiness implements OnModuleDestroy {
  private stopping = false;

  constructor(private readonly work: UnitOfWork) {}

  /** @throws TemporarilyUnavailableError while this process should get no requests. */
  async check(): Promise<void> {
    if (this.stopping) throw new TemporarilyUnavailableError(new Error('this process is stopping'));
    try {
      await this.work.provider((tx) => tx.query('SELECT 1'));
    } catch (error) {
      throw new TemporarilyUnavailableError(error);
    }
  }

  onModuleDestroy(): void {
    this.stopping = true;
  }
}

/** For load balancers and supervisors; not a part of v1. */
@ApiExcludeController()
@Public()
@Controller('health')
export class HealthController {
  constructor(private readonly readiness: Readiness) {}

  /** This process is alive. */
  @Get('live')
  @HttpCode(200)
  live(): { status: string } {
    return { status: 'live' };
  }

  /** This process and its database answer. */
  @Get('ready')
  @HttpCode(200)
  async ready(): Promise<{ status: string }> {
    await this.readiness.check();
    return { status: 'ready' };
  }
}
