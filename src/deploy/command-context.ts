import type { CommandContext } from '../build/build.ts';
import type { Deployment } from './deployment.ts';
import { jobLimits } from './limits.ts';

/** How commands run for a deploy: as jobs of the runner, told in its log, ended when it is cancelled. */
export async function commandContext(
  deployment: Deployment,
  env: Record<string, string>,
): Promise<CommandContext> {
  const { site, signal } = deployment;
  return {
    env,
    user: site.name,
    isolated: await site.files.isolated,
    signal,
    log: (line) => deployment.log(line),
    runJob: (job, onOutput, jobSignal) =>
      site.appliance.runner.call(
        'job',
        { job, limits: jobLimits(site) },
        { signal: jobSignal, onProgress: ({ text }) => onOutput(text) },
      ),
  };
}
