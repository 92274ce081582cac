import { dirname } from 'node:path';
import { usualPath } from '../../system/process/run.ts';
import type { BuildContext } from '../context.ts';
import { baseEnvironment } from '../variables.ts';

/** Limit of the output of a command, in characters. */
const maxOutput = 1024 ** 2;

/** Runs a shell command as the user of the app. Returns its exit status and the first MiB of its output. */
export async function runQuietly(
  { runJob, user, isolated, node, signal, settings, env: app }: BuildContext,
  directory: string,
  command: string,
  args: string[],
): Promise<{ code: number | null; output: string }> {
  const {
    HOME = '',
    npm_config_userconfig = '',
    NPM_CONFIG_USERCONFIG = '',
  } = {
    ...baseEnvironment(process.env, isolated),
    ...app,
  };
  const env = {
    ...(!isolated && { HOME }),
    ...{ npm_config_userconfig, NPM_CONFIG_USERCONFIG, PATH: usualPath, NODE_PREFIX: dirname(dirname(node)) },
  };
  const argv: [string, ...string[]] = ['/bin/sh', '-c', command, 'sh', ...args];
  const job = { argv, directory, env, user, lowPriority: true, timeout: settings.build.timeout };
  let output = '';
  const { code } = await runJob(job, (text) => (output = `${output}${text}`.slice(0, maxOutput)), signal);
  signal.throwIfAborted();
  return { code, output };
}
