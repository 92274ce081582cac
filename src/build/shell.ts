import { CommandRunner } from './command-runner.ts';
import type { CommandContext } from './context.ts';

/**
 * Runs a shell command of the app's own, a hook of a deploy, to its end.
 * @throws AppError `hook_failed`; or the signal's reason
 */
export async function runShell(
  context: CommandContext,
  {
    command,
    directory,
    env,
    timeout,
  }: { command: string; directory: string; env: Record<string, string>; timeout: number },
): Promise<void> {
  const job = { argv: ['/bin/sh', '-c', command] as [string, ...string[]], directory, env };
  await new CommandRunner(context, timeout).run('hook', job, command);
}
