import { Injectable } from '@nestjs/common';
import type { StandbyState } from '#contracts/replication';
import type { Standby } from '../standby.row.js';
import { followsSource } from '../standby.states.js';
import { CatchUpStage } from './catch-up.stage.js';
import { PauseStage } from './pause.stage.js';
import { PrepareStage } from './prepare.stage.js';
import { PrimaryStage } from './primary.stage.js';
import { RemoveStage } from './remove.stage.js';
import { RepairStage } from './repair.stage.js';
import { SeedStage } from './seed.stage.js';
import { REST, type Stage } from './stage.js';
import { StreamStage } from './stream.stage.js';

@Injectable()
export class MendingStages {
  constructor(
    readonly repair: RepairStage,
    readonly primary: PrimaryStage,
  ) {}
}

/** Which stage a standby is in the hands of: what is wanted comes first, then what was reached. */
@Injectable()
export class Stages {
  private readonly byState: Readonly<Record<StandbyState, Stage>>;

  constructor(
    private readonly pause: PauseStage,
    private readonly remove: RemoveStage,
    prepare: PrepareStage,
    seed: SeedStage,
    catchUp: CatchUpStage,
    stream: StreamStage,
    mending: MendingStages,
  ) {
    const none: Stage = { advance: () => Promise.resolve(REST) };
    this.byState = {
      preparing: prepare,
      seeding: seed,
      'catching-up': catchUp,
      streaming: stream,
      broken: mending.repair,
      paused: pause,
      promoting: none,
      primary: mending.primary,
      removing: remove,
      removed: none,
    };
  }

  of(standby: Standby): Stage {
    if (standby.removing && standby.state !== 'promoting' && standby.state !== 'primary') return this.remove;
    if (standby.paused && followsSource(standby.state)) return this.pause;
    return this.byState[standby.state];
  }
}
