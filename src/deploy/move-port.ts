import type { Environment } from '../apps/environment.ts';
import { releaseView } from '../apps/release-view.ts';
import { allocatePort, listPorts } from '../config/environment-state.ts';
import { environmentName } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import type { BootResult, PortAddress } from '../protocol/runner.ts';
import type { Release } from '../releases/release.ts';
import type { DeployWatcher } from './events.ts';
import { Progress } from './progress.ts';
import { moveTraffic } from './traffic.ts';

/** Move of an app to another port. */
export interface PortMove {
  /** null for the next free port, on the usual address */
  port: number | null;
  /** undefined for the usual address: `apps.host` in config.json */
  host?: string | undefined;
  /** time in ms for another program to give up the port */
  within: number;
}

/** Code of the notice that Sluice waits for a port: the other program may be ended now. */
export const waitsForPort = 'waits_for_port';

/**
 * Moves a running app to another port, which another program may still have. New workers boot first. When the other program gives
 * up the port, the runner binds the port at once, and the traffic switches: clients wait for that time instead of being refused.
 * @throws AppError `port_taken` if another app has the port, or if the program keeps it; `not_deployed`; errors of a failed boot
 *   or switch. The app then keeps its port
 */
export async function movePort(
  environment: Environment,
  move: PortMove,
  signal: AbortSignal,
  watch: DeployWatcher,
): Promise<Release> {
  const { appliance, id, name, paths } = environment;
  const progress = new Progress(watch, appliance.log, signal);
  try {
    using _traffic = await environment.trafficLock.take(signal);
    const release = await environment.requireLiveRelease();
    const takes = await addressOf(environment, move);
    progress.accept(id, release.number);
    const { host } = move.port === null ? { host: undefined } : move;
    const keep = () => environment.changeState({ port: takes.port, host });
    const change = { takes, files: [paths.state], keep };
    const booted = async ({ generation }: BootResult) => {
      const waiting = () => progress.emit({ event: 'notice', ...waitNotice(takes) });
      const params = { key: name, generation, within: move.within };
      await appliance.runner.call('takePort', params, { signal, onProgress: waiting });
    };
    await moveTraffic(environment, release, signal, { change, observer: progress, booted, restart: true });
    await appliance.reservePorts();
    appliance.domains.refresh();
    const view = await releaseView(environment, release.number);
    progress.finish(view);
    return view;
  } catch (error) {
    const failure = progress.fail(error);
    if (failure !== undefined) progress.emit({ event: 'failed', release: null, error: failure });
    throw error;
  }
}

/** @throws AppError `port_taken` */
async function addressOf({ appliance, name }: Environment, { port, host }: PortMove): Promise<PortAddress> {
  const { paths, settings } = appliance;
  const usual = settings.apps.host;
  if (port === null) return { host: usual, port: await allocatePort(paths, settings.apps.firstPort, usual) };
  const owner = (await listPorts(paths)).find((each) => each.port === port);
  if (owner === undefined) return { host: host ?? usual, port };
  const other = environmentName(owner.id);
  throw new AppError(
    'port_taken',
    other === name ? `${name} has port ${port} already` : `port ${port} belongs to ${other}`,
    {
      hint: 'Choose another port. List apps with their ports: `sluice apps`.',
    },
  );
}

function waitNotice({ host, port }: PortAddress) {
  return {
    code: waitsForPort,
    message: `workers are ready, and take port ${port} on ${host} when it is free`,
    hint: '',
  };
}
