import type { RestartSpec } from '../../protocol/runner.ts';
import { Restarts } from './restarts.ts';
import type { WorkerHandle } from './worker-handle.ts';

/** The place of one worker in a generation: who is in it, and how often it had to be filled again. */
export class Slot {
  readonly instance: number;
  readonly restarts: Restarts;
  /** undefined while there is none */
  worker: WorkerHandle | undefined;
  /** fulfilled when the earlier worker of this slot and its children are gone */
  vacated: Promise<void> = Promise.resolve();
  /** whether one is being started, or is to be, because it is empty */
  filling = false;
  /** how long that waits, in ms */
  delay = 0;
  /** whether it is to stay empty: see `stopExitCodes` */
  stopped = false;
  /** whether it stays empty while memory is short: see `giveWay` */
  waits = false;
  /** whether another is being started beside the one that is in it */
  renewing = false;
  /** before this, in ms of a clock that only goes forward, that is not tried again */
  renewNotBefore = 0;
  /** as `renewNotBefore`, for a worker that accepts no requests */
  refillNotBefore = 0;

  constructor(instance: number, spec: RestartSpec) {
    this.instance = instance;
    this.restarts = new Restarts(spec);
  }
}
