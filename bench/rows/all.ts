import type { Measurement } from '../measurement.ts';
import { balanceMeasurement } from './balance.ts';
import { bootMeasurement } from './boot.ts';
import { bootstrapMeasurement } from './bootstrap.ts';
import { busyMeasurement } from './busy.ts';
import { cpuMeasurement } from './cpu.ts';
import { deployMeasurement } from './deploy.ts';
import { logsMeasurement, maskingMeasurement } from './logs.ts';
import { manyMeasurement } from './many.ts';
import { memoryMeasurement } from './memory.ts';
import { pushMeasurement } from './push.ts';
import { buildMeasurement, redeployMeasurement } from './redeploy.ts';
import { requestsMeasurement } from './requests.ts';
import { revertMeasurement } from './revert.ts';
import { rollbackMeasurement } from './rollback.ts';
import { scaleMeasurement } from './scale.ts';
import { pauseMeasurement, switchMeasurement } from './switch.ts';

/** All measurements, in the order of the table. */
export const measurements: Measurement[] = [
  balanceMeasurement,
  busyMeasurement,
  cpuMeasurement,
  switchMeasurement,
  pauseMeasurement,
  requestsMeasurement,
  redeployMeasurement,
  buildMeasurement,
  rollbackMeasurement,
  revertMeasurement,
  bootMeasurement,
  memoryMeasurement,
  scaleMeasurement,
  deployMeasurement,
  pushMeasurement,
  manyMeasurement,
  bootstrapMeasurement,
  logsMeasurement,
  maskingMeasurement,
];
