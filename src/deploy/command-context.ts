import type { CommandContext } from '../build/build.ts';
import type { Deployment } from './deployment.ts';
import { jobLimits } from './limits.ts';

/** How commands run for a deploy: as jobs of the runner, told in its log, ended when it is cancelled. */
export async function commandContext(
  deployment: Deployment,
  env: Record<string, string>,
): Promise<CommandContext> {
  const { environment, signal } = deployment;
  return {
    env,
    user: environment.name,
    isolated: await environment.files.isolated,
    signal,
    log: (line) => deployment.log(line),
    runJob: (job, onOutput, jobSignal) =>
      environment.appliance.runner.call(
        'job',
        { job, limits: jobLimits(environment) },
        { signal: jobSignal, onProgress: ({ text }) => onOutput(text) },
      ),
  };
}
