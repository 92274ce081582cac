import { parseEnvironmentName } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import type { GenerationSpec } from '../../protocol/runner.ts';
import type { WorkerBoot } from '../../protocol/worker.ts';
import { findPortHolders, type PortHolder } from '../../system/net/listeners.ts';
import { shellWord } from '../../system/text/format.ts';

type Wanted = Pick<GenerationSpec, 'key' | 'host' | 'port' | 'paths'>;

/** Returns an error that names the process that has the app's port, with a hint on what to do. */
export async function portTaken({ key, host, port, paths }: Wanted): Promise<AppError> {
  const holders = await findPortHolders(port);
  // A worker is preferred to its runner, which has the socket, too.
  const holder = holders.find((each) => workerOf(each) !== undefined) ?? holders[0];
  const taken = (by: string, remedy: string) =>
    new AppError('port_taken', `port ${port} on ${host} is in use by ${by}`, {
      hint: `${remedy} Sluice then starts ${key} within a minute. To start it at once: sluice start ${key}`,
    });
  if (holder === undefined)
    return taken('another process', `Find that process with \`ss -ltnp 'sport = :${port}'\`, and end it.`);
  const { pid } = holder;
  const worker = workerOf(holder);
  if (worker === undefined) return taken(`process ${pid} (${shorten(holder.command)})`, 'End that process.');
  if (worker.generationFile === paths.generation)
    return taken(
      `process ${pid}, a worker of ${key} that is not on record`,
      `End that process: kill ${pid}.`,
    );
  const home = shellWord(worker.home);
  return taken(
    `process ${pid}, a worker of ${worker.key} of the Sluice in ${worker.home}`,
    `Stop that Sluice (SLUICE_HOME=${home} ./install.sh --local --stop) or that app (SLUICE_HOME=${home} sluice stop ${worker.key}).`,
  );
}

/** Returns the app and the home of a worker, read from the variable for its bootstrap; undefined for other processes. */
function workerOf({
  environment,
}: PortHolder): { key: string; home: string; generationFile: string } | undefined {
  try {
    const { key, generationFile } = JSON.parse(environment['SLUICE_WORKER'] ?? '') as WorkerBoot;
    // HOME/apps/APP/ENVIRONMENT/generation
    const home = /^(.*)\/apps\/[^/]+\/[^/]+\/generation$/.exec(generationFile)?.[1];
    return home === undefined || parseEnvironmentName(key) === undefined
      ? undefined
      : { key, home, generationFile };
  } catch {
    return undefined;
  }
}

function shorten(command: string): string {
  return command.length > 80 ? `${command.slice(0, 79)}…` : command;
}
