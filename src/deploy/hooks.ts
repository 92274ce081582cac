import { type CommandContext, runShell } from '../build/build.ts';
import { withoutRepositoryAbove } from '../build/repository-above.ts';
import { baseEnvironment } from '../build/variables.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import type { Deployment } from './deployment.ts';
import { generationSpec } from './spec.ts';

/**
 * Runs the work before the new code runs, such as migrations: the hook `preSwitch`, then the commands that precede the last one
 * of the start command.
 * @throws AppError `hook_failed`
 */
export async function preSwitch(deployment: Deployment, release: ReleaseRecord): Promise<void> {
  const { settings, before = [] } = release.run ?? {};
  const hook = settings?.hooks.preSwitch;
  const commands = hook === undefined ? before : [hook, ...before];
  if (commands.length > 0) deployment.enter('preSwitch');
  for (const command of commands) await runHook(deployment, release, command, deployment.signal);
}

/**
 * Runs the hook `postSwitch`. A failure does not change that the release is live.
 * @param stopping ends the hook when the server stops: the deploy can no longer be cancelled
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

/**
 * Runs a hook in the release, with the environment of its workers, and the registries and certificates of builds. A hook is code of
 * the app that runs in a deploy, as a build script is: so it may read what a build script reads, and workers may not.
 */
async function runHook(
  deployment: Deployment,
  release: ReleaseRecord,
  command: string,
  signal: AbortSignal,
): Promise<void> {
  const { environment } = deployment;
  const { directory, commandDirectory, env, log } = await generationSpec(environment, release);
  const timeout = release.run?.settings.hooks.timeout ?? 0;
  const context = await commandContext(deployment, log.secrets);
  const base = baseEnvironment(process.env, context.isolated);
  const variables = { ...base, ...env, ...withoutRepositoryAbove(directory) };
  const job = { directory, ...(commandDirectory && { workingDirectory: commandDirectory }) };
  await runShell({ ...context, signal }, { ...job, command, env: variables, timeout });
}

/** Returns how the commands of a deploy run: as jobs of the runner, logged in the deploy, and ended if it is cancelled. */
export async function commandContext(deployment: Deployment, secrets: string[]): Promise<CommandContext> {
  const { environment, signal } = deployment;
  const { name: key, appliance } = environment;
  const { buildMemory, buildProcesses } = appliance.settings;
  const limits = { key, memory: buildMemory ?? null, processes: buildProcesses, cpuWeight: 100 };
  return {
    secrets,
    user: key,
    isolated: await appliance.runner.hasUsers(),
    signal,
    log: (line) => deployment.log(line),
    runJob: (job, onOutput, jobSignal) =>
      appliance.runner.call(
        'job',
        { job, limits },
        { signal: jobSignal, onProgress: ({ text }) => onOutput(text) },
      ),
  };
}
