import { basename, join } from 'node:path';
import type { JobResult, JobSpec } from '../protocol/runner.ts';
import { formatDuration } from '../system/text/format.ts';
import { LineSplitter } from '../system/text/lines.ts';
import { MaskedText } from '../system/text/mask/mask-stream.ts';
import { Masker } from '../system/text/mask/masker.ts';
import type { CommandContext, Purpose } from './context.ts';
import { npmNoiseFilter, skippedScripts } from './install/install-output.ts';

/** Number of output lines that the search for the reason of a failure covers. */
const searchedLines = 400;

/** A command; runs as the user of the app unless `user` is set. */
type Command = Pick<JobSpec, 'argv' | 'directory' | 'workingDirectory' | 'env'> &
  Partial<Pick<JobSpec, 'user'>>;

/** Runs the commands of one build or one hook in turn. Masks and logs their output, and applies one time limit to all. */
export class CommandRunner {
  readonly #context: CommandContext;
  readonly #masker: Masker;
  readonly #timeout: number;
  /** remaining time, in ms */
  #left: number;

  /** @param timeout of all commands together, in ms */
  constructor(context: CommandContext, timeout: number) {
    this.#context = context;
    this.#masker = new Masker(context.secrets);
    this.#timeout = timeout;
    this.#left = timeout;
  }

  /**
   * Runs a command and waits for its end.
   * @param name of the command in the log and in errors
   * @returns the last lines of the output
   * @throws AppError as `commandError` returns it; or the reason of the signal
   */
  async run(
    purpose: Purpose,
    command: Command,
    name = [basename(command.argv[0]), ...command.argv.slice(1)].join(' '),
  ): Promise<string[]> {
    const { runJob, user, log, signal } = this.#context;
    signal.throwIfAborted();
    log(`$ ${name}`);

    const masked = new MaskedText(this.#masker);
    const splitter = new LineSplitter({ longest: 16_384, overwrite: true });
    const last: string[] = [];
    const isWorthShowing = npmNoiseFilter();
    const add = (lines: string[]) => {
      for (const line of lines) {
        if (isWorthShowing(line)) log(line);
        last.push(line);
      }
      last.splice(0, last.length - searchedLines);
    };
    const job = { user, ...command, lowPriority: purpose !== 'hook', timeout: Math.max(1, this.#left) };
    const startedAt = performance.now();
    const result = await runJob(job, (text) => add(splitter.push(masked.push(text))), signal).finally(() => {
      this.#left -= performance.now() - startedAt;
      add([...splitter.push(masked.end()), ...splitter.flush()]);
      if (!signal.aborted) return;
      log(`Sluice ended \`${name}\` and its processes: ${(signal.reason as Error).message}`);
      signal.throwIfAborted();
    });
    this.#logKills(purpose, name, result);
    if (result.code === 0 && !result.timedOut) return last;
    // Skipped install scripts may be the reason of the failure.
    for (const { message } of skippedScripts(last)) log(message);
    const directory = join(command.directory, command.workingDirectory ?? '');
    const failed = { purpose, name, app: user, directory, timeout: this.#timeout, result };
    // Loaded here to save memory: most commands succeed.
    const { commandError } = await import('./failures/command-error.ts');
    throw await commandError(failed, last.filter(npmNoiseFilter()));
  }

  #logKills(purpose: Purpose, name: string, { left, killedAfter, timedOut }: JobResult): void {
    const { log } = this.#context;
    // A build tool may leave a server of its own; a hook that leaves a process wants the process to live on.
    if (left !== undefined && purpose === 'hook' && !timedOut) {
      const processes = left === 1 ? 'a process' : `${left} processes`;
      log(
        `\`${name}\` left ${processes} running, and Sluice killed ${left === 1 ? 'it' : 'them'}. To run a command permanently, add it to "processes" of sluice.json.`,
      );
    }
    if (killedAfter !== undefined)
      log(`Sluice killed \`${name}\`: it had not ended ${formatDuration(killedAfter)} after SIGTERM`);
  }
}
