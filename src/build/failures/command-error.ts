import { AppError } from '../../errors/app-error.ts';
import type { JobResult, Shortage } from '../../protocol/runner.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import type { Purpose } from '../context.ts';
import { diagnose, quoted } from './diagnose.ts';
import { isWorthQuoting } from './noise.ts';

interface FailedCommand {
  purpose: Purpose;
  /** name of the command in messages */
  name: string;
  /** name of the environment in hints */
  app: string;
  /** directory in which the command ran; absolute */
  directory: string;
  /** time limit of all commands of the build or hook, in ms */
  timeout: number;
  result: JobResult;
}

interface Reason {
  /** half a sentence; null if unknown */
  reason: string | null;
  hint: string;
  /** index of the line that shows the reason; undefined if none does */
  at?: number;
}

const codes = { install: 'install_failed', build: 'build_failed', hook: 'hook_failed' } as const;

/**
 * Returns the error for a failed command: what failed and why, lines of the output, and the one thing to do.
 * @param output the last lines of its output
 * @returns AppError `build_timeout`, `build_out_of_memory`, or `install_failed`, `build_failed` or `hook_failed` for the purpose
 */
export async function commandError(failed: FailedCommand, output: string[]): Promise<AppError> {
  const { purpose, name, app, directory, timeout, result } = failed;
  if (result.timedOut) return timeoutError(purpose, name, formatDuration(timeout));
  if (result.shortage?.of === 'memory') return outOfMemory(name, result.shortage);
  const lines = output.filter(isWorthQuoting);
  const failure = { occasion: purpose, app, directory, command: name, output: lines };
  const known: Reason = tooManyProcesses(result) ?? (await diagnose(failure)) ?? unknown(result, lines);
  const { reason, hint, at } = known;
  const end = result.code === null ? `was ended by ${result.signal}` : `ended with status ${result.code}`;
  const first = `\`${name}\` ${end}${reason === null ? '' : `: ${reason}`}`;
  return new AppError(codes[purpose], [first, ...quoted(lines, at).map((line) => `  ${line}`)].join('\n'), {
    hint,
  });
}

function timeoutError(purpose: Purpose, name: string, limit: string): AppError {
  if (purpose === 'hook') {
    const message = `\`${name}\` took longer than ${limit}; Sluice ended the command and its processes`;
    return new AppError('hook_failed', message, {
      hint: 'Check if the command waits for input or for a lock. To allow more time, set "timeout" of "hooks" in sluice.json.',
    });
  }
  const message = `install and build took longer than ${limit}: Sluice ended \`${name}\` and its processes`;
  return new AppError('build_timeout', message, {
    hint: 'Check if the command waits for input or watches files. To allow more time, set "timeout" of "build" in sluice.json.',
  });
}

function outOfMemory(name: string, { limit }: Shortage): AppError {
  const why =
    limit === null ? 'the machine ran out of memory' : `it exceeded ${formatBytes(limit)} ("buildMemory")`;
  const message = `the kernel killed \`${name}\` or one of its processes: ${why}; running apps are not affected`;
  return new AppError('build_out_of_memory', message, {
    hint: 'Add memory or swap space to the server, raise "buildMemory" in config.json, or build elsewhere and upload the result.',
  });
}

/** Returns the reason for a refused fork. Programs report it as EAGAIN, as "Resource temporarily unavailable", or crash. */
function tooManyProcesses({ shortage }: JobResult): Reason | undefined {
  if (shortage?.of !== 'processes') return undefined;
  return {
    reason: `it reached the limit of ${shortage.limit} processes and threads ("buildProcesses")`,
    hint: 'Let the command run fewer processes at a time, or raise "buildProcesses" in config.json.',
  };
}

/** Ends of a command, by signal. A shell reports 128 and the number of the signal as the status of its command. */
const ends: { signal: NodeJS.Signals; status: number; reason: string; hint: string }[] = [
  {
    // The kernel sends SIGKILL to the largest process when memory runs out.
    signal: 'SIGKILL',
    status: 137,
    reason: 'most likely memory ran out',
    hint: 'Check with `dmesg` on the server. Add swap space, or build elsewhere and upload the result.',
  },
  {
    signal: 'SIGILL',
    status: 132,
    reason: 'a program uses an instruction that the processor of this server lacks',
    hint: 'Install a version of the program or package that supports this processor.',
  },
  {
    signal: 'SIGSEGV',
    status: 139,
    reason: 'a program crashed, most likely in a native addon',
    hint: 'Update the native addons of the app, and deploy again.',
  },
];

/** Returns the reason for unknown output. */
function unknown({ code, signal }: JobResult, output: string[]): Reason {
  const end = ends.find((each) => each.signal === signal || each.status === code);
  if (end !== undefined) return end;
  if (output.some((line) => !/^[>$] /.test(line)))
    return { reason: null, hint: 'The build log has the whole output.' };
  return {
    reason: 'it printed nothing',
    hint: 'Run the same command on your machine, in a fresh clone, to find the reason.',
  };
}
