import type { Command } from 'commander';
import type { AppStatus } from '../../apps/status.ts';
import { describeApp } from '../app-view.ts';
import { type AppOptions, appSubcommand, callApp } from '../command.ts';
import { UsageError } from '../failure.ts';
import { isWholeNumber } from '../numbers.ts';
import { print, printJson } from '../output.ts';
import { parseTarget } from '../target.ts';

const verbs = {
  restart: 'switch to fresh workers of the same release',
  stop: 'end the workers of an app, what they have in flight first',
  start: 'start an app that was stopped',
} as const;

export function registerProcessCommands(program: Command): void {
  appSubcommand(
    program,
    'scale <app> <workers>',
    'set the number of workers, or `default`: what the release says',
  ).action((name: string, workers: string, options: AppOptions) =>
    act(name, '/scale', options, {
      workers: workersIn(workers),
    }),
  );
  for (const [verb, description] of Object.entries(verbs)) {
    appSubcommand(program, `${verb} <app>`, description).action((name: string, options: AppOptions) =>
      act(name, `/${verb}`, options),
    );
  }
}

/** The words of the setting `workers` are for the release to say; `default` goes back to it. */
function workersIn(text: string): number | null {
  if (text === 'default') return null;
  if (isWholeNumber(text, 1, 64)) return Number(text);
  throw new UsageError(
    `workers are a whole number from 1 to 64, or "default", not "${text}"`,
    '"default" is what the release says: "workers" in its sluice.json, which may be "auto" or "max" too.',
  );
}

async function act(name: string, path: string, options: AppOptions, json?: unknown): Promise<void> {
  const target = parseTarget(name, options.environment);
  const app = await callApp<AppStatus>('POST', target, path, { json });
  if (options.json) printJson(app);
  else print(describeApp(app));
}
