import { AppError } from '../errors/app-error.ts';
import type { JobResult, Shortage } from '../protocol/runner.ts';
import { formatBytes, formatDuration } from '../system/text/format.ts';
import type { Purpose } from './context.ts';
import { knownFailures, matches } from './known-failures.ts';

/** Reason of a failure, as far as the output of the command shows it. */
interface Diagnosis {
  /** half a sentence; null if unknown */
  reason: string | null;
  hint: string;
  /** lines of the output that show the reason, with a few lines of context; the last lines if undefined */
  excerpt?: string[];
}

interface FailedCommand {
  purpose: Purpose;
  /** name of the command in messages */
  name: string;
  /** time limit of all commands of the build or hook, in ms */
  timeout: number;
  result: JobResult;
}

const codes = { install: 'install_failed', build: 'build_failed', hook: 'hook_failed' } as const;

/**
 * Returns the error for a failed command.
 * @param output the last lines of its output
 * @returns AppError `build_timeout`, `build_out_of_memory`, or `install_failed`, `build_failed` or `hook_failed` for the purpose
 */
export function commandError({ purpose, name, timeout, result }: FailedCommand, output: string[]): AppError {
  if (result.timedOut) return timeoutError(purpose, name, formatDuration(timeout));
  if (result.shortage?.of === 'memory') return outOfMemory(name, result.shortage);
  const lines = output.filter((line) => line.trim() !== '');
  const diagnosis = tooManyProcesses(result) ?? diagnose(purpose, lines) ?? unknown(result);
  const { reason, hint, excerpt = lines.slice(-excerptLines) } = diagnosis;
  const end = result.code === null ? `was ended by ${result.signal}` : `ended with status ${result.code}`;
  const first = `\`${name}\` ${end}${reason === null ? '' : `: ${reason}`}`;
  return new AppError(codes[purpose], [first, ...excerpt.map((line) => `  ${line}`)].join('\n'), { hint });
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

/** Returns the diagnosis for a refused fork. Programs report it as EAGAIN, as "Resource temporarily unavailable", or crash. */
function tooManyProcesses({ shortage }: JobResult): Diagnosis | undefined {
  if (shortage?.of !== 'processes') return undefined;
  return {
    reason: `it reached the limit of ${shortage.limit} processes and threads ("buildProcesses")`,
    hint: 'Let the command run fewer processes at a time, or raise "buildProcesses" in config.json.',
  };
}

/** Returns the diagnosis for unknown output. The kernel sends SIGKILL to the largest process when memory runs out; a shell reports 128 + 9. */
function unknown({ code, signal }: JobResult): Diagnosis {
  if (signal !== 'SIGKILL' && code !== 137) {
    return { reason: null, hint: 'The build log has the whole output.' };
  }
  return {
    reason: 'most likely memory ran out',
    hint: 'Check with `dmesg` on the server. Add swap space, or build elsewhere and upload the result.',
  };
}

const linesBefore = 3;
const excerptLines = 12;

/** Returns the reason of a failed command by its output; undefined for an unknown failure. */
export function diagnose(purpose: Purpose, output: string[]): Diagnosis | undefined {
  for (const { pattern, reason, hint } of knownFailures[purpose]) {
    const at = output.findIndex((line) => matches(pattern, line));
    if (at === -1) continue;
    const start = Math.max(0, at - linesBefore);
    return { reason, hint, excerpt: output.slice(start, start + excerptLines) };
  }
  return undefined;
}
