import type { z } from 'zod';
import { judgeChangeOrder } from '#contracts/archive';
import { NotFoundError } from '#libs/platform/errors';
import { CarriesOut, type OrderHandler, type ReceivedOrder } from '#libs/sites/site';
import { Changes } from '../changes/changes.service.js';

type Judgement = z.infer<typeof judgeChangeOrder.payload>;

@CarriesOut(judgeChangeOrder)
export class JudgeChangeHandler implements OrderHandler<Judgement> {
  constructor(private readonly changes: Changes) {}

  async carryOut({ payload }: ReceivedOrder<Judgement>): Promise<void> {
    const { archiveId, changeId, verdict } = payload;
    if (!(await this.changes.judge(archiveId, changeId, verdict))) throw new NotFoundError('unusual change');
  }
}
