import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors/app-error.ts';
import { exists } from '../system/fs/exists.ts';
import { listDirectory } from '../system/fs/files.ts';
import { formatBytes } from '../system/text/format.ts';
import { type Check, ok, type Patient, warning } from './check.ts';
import { environments } from './environments.ts';

/** Whether the logs of all apps are within their bounds: above them are only files that are still written. */
export async function checkLogs({ paths, limits }: Patient): Promise<Check | undefined> {
  if (!(await exists(paths.home))) return undefined;
  let total = 0;
  for (const { logs } of await environments(paths)) {
    for (const name of await listDirectory(logs)) total += await sizeOf(join(logs, name));
  }
  const most = formatBytes(limits.maxLogBytes);
  if (total <= limits.maxLogBytes) {
    return ok(
      'logs',
      `the logs of all apps take ${formatBytes(total)}, of ${most} that they may ("maxLogBytes")`,
    );
  }
  return warning(
    'logs',
    `the logs of all apps take ${formatBytes(total)}, and "maxLogBytes" is ${most}: old ones are removed early`,
    'Raise "maxLogBytes" in config.json, or lower "logSize": a file that is still written is never removed.',
  );
}

/** 0 where it has been rotated away meanwhile. */
async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return 0;
    throw error;
  }
}
