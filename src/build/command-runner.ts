import { basename } from 'node:path';
import { AppError } from '../errors/app-error.ts';
import type { JobResult, JobSpec, Shortage } from '../protocol/runner.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import { LineSplitter } from '../system/text/lines.ts';
import { MaskedText } from '../system/text/mask/mask-stream.ts';
import { Masker } from '../system/text/mask/masker.ts';
import type { CommandContext, Purpose } from './context.ts';
import { diagnose, lastLines } from './failures.ts';
import { npmNoiseFilter, skippedScripts } from './install/output.ts';

/** Lines of the output that a diagnosis looks at. */
const remembered = 400;

/** Runs as the app's user unless it says otherwise. */
type Command = Pick<JobSpec, 'argv' | 'directory' | 'env'> & Partial<Pick<JobSpec, 'user'>>;

/**
 * Runs the commands of one build, or of one hook, one after the other: logs what they print, masked, holds them to one time limit
 * together, and turns a failure into an error that says why.
 */
export class CommandRunner {
  readonly #context: CommandContext;
  readonly #masker: Masker;
  readonly #timeout: number;
  /** of the timeout, in ms */
  #left: number;

  /** @param timeout of all commands together, in ms */
  constructor(context: CommandContext, timeout: number) {
    this.#context = context;
    this.#masker = new Masker(Object.values(context.env));
    this.#timeout = timeout;
    this.#left = timeout;
  }

  /**
   * @param name what the log and errors call the command
   * @returns the last lines it printed
   * @throws AppError `install_failed`, `build_failed` or `hook_failed` as `purpose` says, `build_timeout`, `build_out_of_memory`; or the signal's reason
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
    const splitter = new LineSplitter();
    const last: string[] = [];
    const isWorthShowing = npmNoiseFilter();
    const take = (lines: string[]) => {
      for (const line of lines) {
        if (isWorthShowing(line)) log(line);
        last.push(line);
      }
      last.splice(0, last.length - remembered);
    };
    const job = { user, ...command, lowPriority: purpose !== 'hook', timeout: Math.max(1, this.#left) };
    const startedAt = performance.now();
    const result = await runJob(job, (text) => take(splitter.push(masked.push(text))), signal).finally(() => {
      this.#left -= performance.now() - startedAt;
      take([...splitter.push(masked.end()), ...splitter.flush()]);
      if (signal.aborted)
        log(
          `\`${name}\` and the processes that it had started were ended: ${(signal.reason as Error).message}`,
        );
      signal.throwIfAborted();
    });
    const { killedAfter, left } = result;
    // A build tool may leave a server of its own; a hook that leaves a process wants the process to live on.
    if (left !== undefined && purpose === 'hook' && !result.timedOut) log(describeLeft(name, left));
    if (killedAfter !== undefined)
      log(`\`${name}\` was killed: it had not ended ${formatDuration(killedAfter)} after SIGTERM`);
    if (result.timedOut) throw purpose === 'hook' ? hookTimedOut(name, this.#timeout) : this.#timedOut(name);
    if (result.code === 0) return last;
    if (result.shortage?.of === 'memory') throw outOfMemory(name, result.shortage);
    // They may be why it failed.
    for (const { message } of skippedScripts(last)) log(message);
    throw failure(purpose, name, result, last.filter(npmNoiseFilter()));
  }

  #timedOut(name: string): AppError {
    const limit = formatDuration(this.#timeout);
    return new AppError(
      'build_timeout',
      `Install and build took longer than ${limit}: \`${name}\` was ended, with all it had started`,
      { hint: 'Does it wait for input, or watch files? More time is "timeout" of "build" in sluice.json.' },
    );
  }
}

function describeLeft(name: string, left: number): string {
  const [what, them] = left === 1 ? ['a process', 'the process'] : [`${left} processes`, 'them'];
  return `\`${name}\` left ${what} running, and Sluice killed ${them}. Put a command that goes on into "processes" of sluice.json.`;
}

function outOfMemory(name: string, { limit }: Shortage): AppError {
  const why =
    limit === null
      ? 'was killed, or a program that it had started, because the machine ran out of memory'
      : `took more than ${formatBytes(limit)} of memory ("buildMemory"), and was killed, or a program that it had started`;
  return new AppError('build_out_of_memory', `\`${name}\` ${why}; apps that run are not affected`, {
    hint: 'Give the server more memory or swap space, set "buildMemory" in config.json where more than that may be taken, or build elsewhere and upload what was built.',
  });
}

const codes = { install: 'install_failed', build: 'build_failed', hook: 'hook_failed' } as const;

function hookTimedOut(name: string, timeout: number): AppError {
  const limit = formatDuration(timeout);
  return new AppError(
    'hook_failed',
    `\`${name}\` took longer than ${limit} and was ended, with all it had started`,
    {
      hint: 'Does it wait for input, or for a lock? More time is "timeout" of "hooks" in sluice.json.',
    },
  );
}

function failure(purpose: Purpose, name: string, result: JobResult, last: string[]): AppError {
  const output = last.filter((line) => line.trim() !== '');
  const { reason, hint, excerpt } =
    tooManyProcesses(result, output) ?? diagnose(purpose, output) ?? unknown(result, output);
  const end = result.code === null ? `was ended by ${result.signal}` : `ended with status ${result.code}`;
  const first = `\`${name}\` ${end}${reason === null ? '' : `: ${reason}`}`;
  const message = [first, ...excerpt.map((line) => `  ${line}`)].join('\n');
  return new AppError(codes[purpose], message, { hint });
}

/** A fork that is refused shows as EAGAIN, or as "Resource temporarily unavailable", or as a crash. */
function tooManyProcesses({ shortage }: JobResult, output: string[]) {
  if (shortage?.of !== 'processes') return undefined;
  return {
    reason: `it had ${shortage.limit} processes and threads, as many as it may ("buildProcesses"), and wanted more`,
    hint: 'Have it run fewer at a time, or raise "buildProcesses" in config.json.',
    excerpt: lastLines(output),
  };
}

/** The kernel ends the largest process when memory runs out; a shell reports that as 128 + 9. */
function unknown({ code, signal }: JobResult, output: string[]) {
  const excerpt = lastLines(output);
  if (signal !== 'SIGKILL' && code !== 137) {
    return { reason: null, hint: 'The build log has all that it printed.', excerpt };
  }
  return {
    reason: 'most likely memory ran out',
    hint: '`dmesg` on the server tells. Build elsewhere and upload what was built, or give the server swap space.',
    excerpt,
  };
}
