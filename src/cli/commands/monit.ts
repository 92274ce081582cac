import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import type { ServerStatus } from '../../api/routes/server.ts';
import type { AppStatus } from '../../apps/status.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { appPath, appSubcommand, type CommonOptions, call } from '../command.ts';
import { UsageError } from '../failure.ts';
import { logLines } from '../follow-log.ts';
import { frame, nameOf, type View } from '../monit/frame.ts';
import { type Key, Screen } from '../monit/screen.ts';
import { hasColours } from '../output.ts';

/** Pause between two readings of the figures, in ms. */
const readEvery = 1000;

/** Signals that end the command. Without a handler, they would leave the terminal in raw mode. */
const endingSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export function registerMonitCommand(program: Command): void {
  appSubcommand(program, 'monit [app]', 'Watch apps, their processes, and the log of one').action(monit);
}

async function monit(id: EnvironmentId | undefined, { json }: CommonOptions): Promise<void> {
  const { stdin, stdout } = process;
  if (json || !stdin.isTTY || !stdout.isTTY)
    throw new UsageError('`sluice monit` needs a terminal', 'For the figures as JSON: sluice status --json');
  if (id !== undefined) await call<AppStatus>('GET', appPath(id));
  const view: View = {
    apps: [],
    selected: id && environmentName(id),
    log: [],
    fault: undefined,
    now: new Date(),
  };
  await read(view, stdout.rows);
  const ending = new AbortController();
  for (const signal of endingSignals) process.once(signal, () => ending.abort());
  using screen = new Screen(stdin, stdout);
  const draw = () => screen.draw(frame(view, screen.rows, hasColours()));
  screen.onResize(draw);
  draw();
  const follow = (async () => {
    for (;;) {
      await sleep(readEvery, undefined, { signal: ending.signal }).catch(() => undefined);
      if (ending.signal.aborted) return;
      await refresh(view, screen.rows);
      if (!ending.signal.aborted) draw();
    }
  })();
  for await (const key of screen.keys(ending.signal)) {
    if (key === 'quit') break;
    select(view, key);
    draw();
    await refresh(view, screen.rows);
    draw();
  }
  ending.abort();
  await follow;
}

/** Selects the app above or below the selected one. */
function select(view: View, key: Exclude<Key, 'quit'>): void {
  const at = view.apps.findIndex((app) => nameOf(app) === view.selected);
  const next = view.apps[Math.max(0, at + (key === 'up' ? -1 : 1))];
  if (next === undefined || nameOf(next) === view.selected) return;
  view.selected = nameOf(next);
  view.log = [];
}

/** Reads the figures. If the server does not answer, keeps the last figures and notes why. */
async function refresh(view: View, rows: number): Promise<void> {
  try {
    await read(view, rows);
    view.fault = undefined;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    view.fault = error.message;
    view.now = new Date();
  }
}

/** @param lines number of lines of the log */
async function read(view: View, lines: number): Promise<void> {
  const { apps } = await call<ServerStatus>('GET', '/v1/status');
  view.selected ??= apps[0] && nameOf(apps[0]);
  const { selected } = view;
  const app = apps.find((each) => nameOf(each) === selected);
  const log =
    app === undefined
      ? []
      : await Array.fromAsync(logLines({ app: app.name, environment: app.environment }, { lines }));
  Object.assign(view, { apps, now: new Date() });
  // Another app may have been selected meanwhile.
  if (view.selected === selected) view.log = log;
}
