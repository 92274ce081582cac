import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { type AppOptions, appSubcommand, connect } from '../command.ts';
import { wholeNumber } from '../numbers.ts';
import { print } from '../output.ts';
import { appPath, parseTarget } from '../target.ts';

export function registerLogsCommand(program: Command): void {
  appSubcommand(program, 'logs <app>', 'what an app has written')
    .option('-f, --follow', 'go on with what it writes from now on')
    .option('-n, --lines <number>', 'how many lines', '100')
    .action(logs);
}

async function logs(name: string, options: AppOptions & { follow?: true; lines: string }): Promise<void> {
  const target = parseTarget(name, options.environment);
  const query = {
    environment: target.environment,
    lines: wholeNumber(options.lines, '--lines', 0),
    follow: options.follow ?? false,
  };
  const answer = await (await connect()).open('GET', appPath(target, '/logs'), { query });
  if (!options.json) {
    for await (const chunk of answer) process.stdout.write(chunk);
    return;
  }
  // One document a line: a log has no end to close a list at.
  for await (const line of createInterface({ input: answer })) print(JSON.stringify({ line }));
}
