import type { Readable } from 'node:stream';
import type { z } from 'zod';
import { askFile, askTree, type treeAnswer } from '#contracts/archive';
import { SiteUnitOfWork } from '#libs/platform/database';
import { NotFoundError } from '#libs/platform/errors';
import { AnswersQuestion, type AskedQuestion, type QuestionHandler } from '#libs/sites/site';
import type { ArchiveRow } from '../archive.row.js';
import { Archives } from '../archives.service.js';
import { Points } from '../points/points.service.js';
import { Trees } from './trees.js';

type AskTree = z.infer<typeof askTree.payload>;
type AskFile = z.infer<typeof askFile.payload>;

/** The archive of a point that is there and is the agency's. @throws NotFoundError */
async function archiveOf(
  work: SiteUnitOfWork,
  archives: Archives,
  points: Points,
  { tenantId, payload }: AskedQuestion<{ archiveId: string; snapshotId: string }>,
): Promise<ArchiveRow> {
  return work.run(async (tx) => {
    const archive = await archives.find(tx, payload.archiveId);
    const point = archive && (await points.find(tx, payload.archiveId, payload.snapshotId));
    if (!point || point.forgottenAt !== null || archive.tenantId !== tenantId)
      throw new NotFoundError('recovery point');
    return archive;
  });
}

@AnswersQuestion(askTree)
export class TreeAnswerer implements QuestionHandler<AskTree, z.infer<typeof treeAnswer>> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly trees: Trees,
  ) {}

  async answer(question: AskedQuestion<AskTree>, signal: AbortSignal): Promise<z.infer<typeof treeAnswer>> {
    const archive = await archiveOf(this.work, this.archives, this.points, question);
    const { snapshotId, path, after, limit } = question.payload;
    return this.trees.list(archive, { snapshotId, path, after, limit }, signal);
  }
}

@AnswersQuestion(askFile)
export class FileAnswerer implements QuestionHandler<AskFile, never> {
  constructor(
    private readonly work: SiteUnitOfWork,
    private readonly archives: Archives,
    private readonly points: Points,
    private readonly trees: Trees,
  ) {}

  async answer(
    question: AskedQuestion<AskFile>,
    signal: AbortSignal,
  ): Promise<{ stream: Readable; length: number | null }> {
    const archive = await archiveOf(this.work, this.archives, this.points, question);
    return this.trees.file(archive, question.payload, signal);
  }
}
