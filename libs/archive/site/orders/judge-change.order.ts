import type { z } from 'zod';
import { judgeChangeOrder } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { Archives } from '../archives.service.js';
import { Changes } from '../changes/changes.service.js';
import { requireOwned } from './owned.js';

type Judgement = z.infer<typeof judgeChangeOrder.payload>;

@CarriesOut(judgeChangeOrder)
export class JudgeChangeHandler implements OrderHandler<Judgement> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly changes: Changes,
  ) {}

  /** @throws NotFoundError */
  async carryOut(order: ReceivedOrder<Judgement>): Promise<void> {
    const { archiveId, changeId, verdict } = order.payload;
    await this.work.run((tx) => requireOwned(this.archives, tx, order));
    if (!(await this.changes.judge(archiveId, changeId, verdict))) throw new NotFoundError('unusual change');
  }
}
