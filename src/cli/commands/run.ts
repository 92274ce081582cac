import type { Command } from 'commander';
import type { StartedRun } from '../../api/routes/runs.ts';
import { type EnvironmentId, environmentName } from '../../config/paths.ts';
import { type AppOptions, appPath, appSubcommand, call, connect, show } from '../command.ts';
import { reportFailure, UsageError } from '../failure.ts';
import { paint, printError } from '../output.ts';
import { runAttached } from '../run/attached.ts';

/** Exit status if Sluice itself fails, as of env(1) and timeout(1). */
const ownFailure = 125;

interface RunOptions extends AppOptions {
  detach?: true;
  stop?: string;
}

type What = Parameters<typeof runAttached>[1];

const notes = `
One argument is a shell command: sluice run shop 'npm run migrate'
Several are a program and its arguments: sluice run shop -- node scripts/seed.js --all
The exit status is that of the command, 128 + the number of the signal that ended it, or ${ownFailure} if Sluice fails.
See docs/run.md.`;

/** Registers the commands that run a program in the live release of an app. */
export function registerRunCommands(program: Command): void {
  appSubcommand(program, 'run <app> [command...]', 'Run a command in the live release of an app')
    .option('--detach', 'Do not wait: the output goes to the log of the app')
    .option('--stop <id>', 'End a command that runs; `sluice status APP` lists the ids')
    .addHelpText('after', notes)
    .action(run);
  appSubcommand(program, 'console <app>', 'Open the REPL of Node.js in the live release of an app')
    .option('--shell', 'Open a shell instead')
    .action((id: EnvironmentId, options: AppOptions & { shell?: true }) =>
      attach(id, { console: options.shell ? 'shell' : 'node' }, options),
    );
}

/** Options of `sluice run` that have a value in the next argument. */
const withValue = ['-e', '--environment', '--stop'];

/**
 * Returns the arguments of `sluice run` with `--` before the command, so that options after its program belong to the program.
 * @param argv with `run` at index 2
 */
export function separateCommand(argv: string[]): string[] {
  let arguments_ = 0;
  for (let at = 3; at < argv.length; at += 1) {
    const argument = argv[at] as string;
    if (argument === '--') return argv;
    if (withValue.includes(argument)) at += 1;
    else if (!argument.startsWith('-') || argument === '-') arguments_ += 1;
    if (arguments_ === 2) return argv.toSpliced(at, 0, '--');
  }
  return argv;
}

async function run(id: EnvironmentId, words: string[], options: RunOptions): Promise<void> {
  const { detach, stop } = options;
  if (stop !== undefined) {
    if (detach || words.length > 0) throw new UsageError('--stop takes no command');
    await call('DELETE', appPath(id, `/runs/${encodeURIComponent(stop)}`));
    return show(options, { id: stop, stopped: true }, () => `${stop} has ended`);
  }
  if (words.length === 0)
    throw new UsageError('no command given', "Such as: sluice run shop 'npm run migrate'");
  const command = words.length === 1 ? (words[0] as string) : words;
  if (!detach) return attach(id, { command }, options);
  const name = environmentName(id);
  const started = call<StartedRun>('POST', appPath(id, '/runs'), { json: { command } });
  await show(
    options,
    started,
    (made) => `one-off command ${made.id} runs in release ${made.release}
Follow it: sluice logs ${name} --follow --worker run.${made.id}
End it:    sluice run ${name} --stop ${made.id}`,
  );
}

/** Runs a command with the terminal of this process, and ends this process with its exit status. */
async function attach(id: EnvironmentId, what: What, { json }: AppOptions): Promise<never> {
  if (json) throw new UsageError('--json needs --detach or --stop: standard output is that of the command');
  let status = ownFailure;
  try {
    const socket = await (await connect()).webSocket(appPath(id, '/run'));
    const end = await runAttached(socket, what);
    status = end.status;
    if (end.shortage !== null) {
      const limit = end.shortage === 'memory' ? 'the memory' : 'the number of processes';
      printError(paint('yellow', `note: the command reached its limit of ${limit}`, process.stderr));
    }
  } catch (error) {
    reportFailure(error, false);
  }
  process.exit(status);
}
