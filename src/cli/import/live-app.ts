import type { AppStatus } from '../../apps/status.ts';
import { defaultEnvironment } from '../../config/paths.ts';
import type { PlannedApp } from '../../import/plan.ts';
import { listSome } from '../../system/text/format.ts';
import { appPath, call } from '../command.ts';

/**
 * Returns notes about what an app that is live in Sluice has not from PM2: an import moves only its traffic.
 * @param status of the app in Sluice
 */
export async function missingInSluice(
  { name, web, background, variables }: PlannedApp,
  status: AppStatus,
): Promise<string[]> {
  const id = { app: name, environment: defaultEnvironment };
  const own = await call<{ name: string }[]>('GET', appPath(id, '/variables'));
  const missing = Object.keys(variables).filter((variable) => !own.some((each) => each.name === variable));
  const before = (web ?? background[0])?.node_version?.split('.')[0];
  const now = status.node?.split('.')[0];
  return [
    ...(missing.length === 0
      ? []
      : [`the live app has no variable ${listSome(missing.sort(), 40)}: sluice env set ${name} NAME=value`]),
    ...(before === undefined || now === undefined || before === now
      ? []
      : [
          `PM2 runs the app on Node.js ${before}, and Sluice on ${now}: to keep ${before}, set {"node": "${before}"} in sluice.json`,
        ]),
  ];
}
