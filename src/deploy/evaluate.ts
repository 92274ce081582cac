import { dirname } from 'node:path';
import { giveToApp, isOwnedByServer } from '../apps/files.ts';
import type { RunEvaluation } from '../build/pm2/evaluation.ts';
import { usualPath } from '../system/process/run.ts';
import type { Deployment } from './deployment.ts';
import { systemEnvironment } from './spec.ts';

/**
 * Returns a function that evaluates files of the release as the app's user, in a job of the runner. A file gets the variables of the
 * app, and none of the server.
 * @param own variables of the app
 */
export function evaluateAsApp(deployment: Deployment, own: Record<string, string>): RunEvaluation {
  const { environment, tree, about, signal } = deployment;
  const { appliance, name: key, id } = environment;
  // The options may be those of another Node.js.
  const { NODE_OPTIONS: _, ...variables } = own;
  return async ({ argv, workingDirectory, timeout, memory, processes, maxOutput }) => {
    // Before the build. In the build, the app has the tree.
    if (await isOwnedByServer(tree)) await giveToApp(environment, tree);
    const env = {
      ...systemEnvironment(await appliance.runner.hasUsers()),
      NODE_ENV: id.environment,
      ...variables,
      ...about,
      PATH: [dirname(appliance.node), own['PATH'] ?? process.env['PATH'] ?? usualPath].join(':'),
    };
    const job = { argv, directory: tree, workingDirectory, env, user: key, lowPriority: false, timeout };
    const limits = { key, memory, processes, cpuWeight: 100 };
    const tooMuch = new AbortController();
    let output = '';
    const onProgress = ({ text }: { text: string }) => {
      if (output.length + text.length > maxOutput) tooMuch.abort();
      else output += text;
    };
    const jobSignal = AbortSignal.any([signal, tooMuch.signal]);
    const result = await appliance.runner.call('job', { job, limits }, { signal: jobSignal, onProgress });
    signal.throwIfAborted();
    const { code, timedOut } = result;
    return { output, code: tooMuch.signal.aborted ? null : code, timedOut };
  };
}
