import type { KnownFailure } from './diagnose.ts';
import { appFailures, lastResorts } from './known/apps.ts';
import { networkFailures, resourceFailures } from './known/machine.ts';
import { moduleFailures } from './known/modules.ts';
import { compilation, libraries, otherPlatform } from './known/native-code.ts';
import { nodeFailures } from './known/node-js.ts';
import { downloadFailures, packageFailures } from './known/package-managers.ts';
import { programFailures } from './known/programs.ts';
import { serviceFailures, variableFailures } from './known/services.ts';

/** All known failures. The first row that applies gives the reason, so the more specific rows come first. */
export const knownFailures: KnownFailure[] = [
  ...otherPlatform,
  ...packageFailures,
  ...resourceFailures,
  ...libraries,
  ...compilation,
  ...downloadFailures,
  ...networkFailures,
  ...programFailures,
  ...nodeFailures,
  ...moduleFailures,
  ...appFailures,
  ...variableFailures,
  ...serviceFailures,
  ...lastResorts,
];
