import { bootstrapTimes } from '../boot-time.ts';
import { median } from '../figures.ts';
import type { Measurement } from '../measurement.ts';

/** Time that the bootstrap adds to each start of a worker. */
export const bootstrapMeasurement: Measurement = {
  name: 'bootstrap',
  rounds: 5,
  quickRounds: 1,
  rows: [
    {
      title: 'loading the bootstrap, without node:net',
      unit: 'ms',
      ours: 'load',
      goal: { figure: 5 },
    },
  ],
  async prepare() {
    return [async () => ({ load: median(await bootstrapTimes()) })];
  },
};
