import { delimiter, join } from 'node:path';
import { runShell } from '../build/build.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { commandContext } from './command-context.ts';
import type { Deployment } from './deployment.ts';
import { generationSpec } from './spec.ts';

/** The release phase: what must happen before the code runs, such as migrations. @throws AppError `hook_failed` */
export async function preSwitch(deployment: Deployment, release: ReleaseRecord): Promise<void> {
  const command = release.run?.settings.hooks.preSwitch;
  if (command === undefined) return;
  deployment.enter('preSwitch');
  await runHook(deployment, release, command, deployment.signal);
}

/**
 * The release is live whatever comes of it.
 * @param stopping ends it: a deploy can no longer be cancelled by then, and the server must not wait for its hook
 */
export async function postSwitch(
  deployment: Deployment,
  release: ReleaseRecord,
  stopping: AbortSignal,
): Promise<void> {
  const command = release.run?.settings.hooks.postSwitch;
  if (command === undefined) return;
  await deployment.afterwards('postSwitch', () => runHook(deployment, release, command, stopping));
}

/** In the release itself, with all that its workers have, and the programs of its packages. */
async function runHook(
  deployment: Deployment,
  release: ReleaseRecord,
  command: string,
  signal: AbortSignal,
): Promise<void> {
  const { environment } = deployment;
  const { directory, env } = await generationSpec(environment, release);
  const timeout = release.run?.settings.hooks.timeout ?? 0;
  await runShell(
    { ...(await commandContext(deployment, await environment.variables())), signal },
    {
      command,
      directory,
      env: { ...env, PATH: [join(directory, 'node_modules/.bin'), env['PATH']].join(delimiter) },
      timeout,
    },
  );
}
