import type { Command } from 'commander';
import type { AppStatus } from '../../deployments/service.ts';
import { type AppOptions, appSubcommand, callApp } from '../command.ts';
import { wholeNumber } from '../numbers.ts';
import { print, printJson } from '../output.ts';
import { parseTarget } from '../target.ts';
import { describeApp } from './apps.ts';

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
      workers: workers === 'default' ? null : wholeNumber(workers, 'the number of workers'),
    }),
  );
  for (const [verb, description] of Object.entries(verbs)) {
    appSubcommand(program, `${verb} <app>`, description).action((name: string, options: AppOptions) =>
      act(name, `/${verb}`, options),
    );
  }
}

async function act(name: string, path: string, options: AppOptions, json?: unknown): Promise<void> {
  const target = parseTarget(name, options.environment);
  const app = await callApp<AppStatus>('POST', target, path, { json });
  if (options.json) printJson(app);
  else print(describeApp(app));
}
