import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../errors/app-error.ts';
import { parseObject } from '../../system/text/lines.ts';

/** Program that evaluates a file of PM2, for Sluice's own Node.js. */
const evaluator = fileURLToPath(new URL('evaluate.cjs', import.meta.url));

/** Command that evaluates a file, with its limits. */
export interface EvaluationJob {
  argv: [string, ...string[]];
  /** relative to the release; '' for the release itself */
  workingDirectory: string;
  /** ms */
  timeout: number;
  /** bytes, for a cgroup */
  memory: number;
  /** processes and threads, for a cgroup */
  processes: number;
  /** bytes of the output: a longer output ends the command */
  maxOutput: number;
}

/** Outcome of a command. */
export interface EvaluationEnd {
  output: string;
  /** exit status; null after a signal, and after too much output */
  code: number | null;
  timedOut: boolean;
}

/** Runs the command of an evaluation in the release, as its app and without the variables of the server. */
export type RunEvaluation = (job: EvaluationJob) => Promise<EvaluationEnd>;

/** Value of a file, or the name of a package that the file loads and that is not installed. */
export type Evaluated = { value: object } | { missing: string; error: AppError };

const seconds = 10;
const mebibytes = 384;

/**
 * Sets limits for machines without cgroups: the data of the process in KiB, of which Node.js takes 560 MB before the file is loaded,
 * the seconds of the processor, and the size of dumps. The output of the file goes nowhere. The shell stays the parent of Node.js,
 * so that the file finds nothing of Sluice there.
 */
const withLimits = `ulimit -c 0 2>/dev/null
ulimit -d 1048576 2>/dev/null
ulimit -t ${seconds + 5} 2>/dev/null
"$@" 3>&1 </dev/null >/dev/null 2>&1
exit $?`;

/** File to evaluate. */
export interface EvaluatedFile {
  /** relative to `directory` */
  file: string;
  /** working directory, relative to the release; '' for the release itself */
  directory: string;
  /** value of PM2's option `--env` */
  env: string;
}

/**
 * Evaluates a file of PM2 in a process of its own, with Sluice's Node.js.
 * @throws AppError `invalid_pm2_file`
 */
export async function evaluate(
  { file, directory, env }: EvaluatedFile,
  run: RunEvaluation,
): Promise<Evaluated> {
  const mark = randomUUID();
  const options = ['--no-warnings', '--max-old-space-size=128'];
  const program = [process.execPath, ...options, evaluator, mark, file, env];
  const { output, code, timedOut } = await run({
    argv: ['/bin/sh', '-c', withLimits, 'sh', ...program],
    workingDirectory: directory,
    ...{ timeout: seconds * 1000, memory: mebibytes * 1024 ** 2, processes: 64, maxOutput: 1024 ** 2 },
  });
  const line = output.split(`\n${mark}`)[1]?.split('\n')[0];
  const result = line === undefined ? undefined : parseObject<object>(line);
  if (result === undefined || !isResult(result)) throw invalidFile(file, endedBy(code, timedOut));
  if ('value' in result) {
    if (new Limits().allow(result.value)) return result;
    throw invalidFile(file, 'writes a result that is too large or too deep');
  }
  if ('unusable' in result) throw invalidFile(file, result.unusable.slice(0, most.reason));
  const { failed, line: at, missing } = result;
  const error = invalidFile(
    file,
    `fails${at ? ` in line ${at}` : ''}: ${failed.split('\n')[0]?.slice(0, most.reason)}`,
  );
  if (missing === undefined) throw error;
  return { missing, error };
}

type Result = { value: object } | { unusable: string } | { failed: string; line?: number; missing?: string };

/** Returns true for a result of the evaluator: a file may have written another one. */
function isResult(result: object): result is Result {
  const { value, unusable, failed, line = 0, missing = '' } = result as Record<string, unknown>;
  if (value !== undefined) return typeof value === 'object' && value !== null;
  if (typeof line !== 'number' || String(missing).length > most.reason) return false;
  return [unusable ?? failed, missing].every((text) => typeof text === 'string');
}

/** Limits of a result, as in evaluate.cjs: a file may write a result of its own. `reason`: characters of a message or a name. */
const most = { characters: 100_000, parts: 20_000, depth: 20, reason: 1000 };

/** Counts the parts of a value. */
class Limits {
  #parts = 0;
  #characters = 0;

  /** @returns false if the value exceeds a limit, or has a name that evaluate.cjs leaves out */
  allow(value: unknown, depth = 0): boolean {
    this.#parts += 1;
    if (typeof value === 'string') this.#characters += value.length;
    if (this.#parts > most.parts || this.#characters > most.characters) return false;
    if (typeof value !== 'object' || value === null) return true;
    if (depth >= most.depth) return false;
    return Object.entries(value).every(([name, part]) => {
      if (!Array.isArray(value)) this.#characters += name.length;
      return name !== '__proto__' && this.allow(part, depth + 1);
    });
  }
}

/** Says why an evaluation has ended without a result. */
function endedBy(code: number | null, timedOut: boolean): string {
  if (timedOut) return `does not end within ${seconds} s`;
  if (code === null) return 'ends the process that evaluates it, or prints without end';
  // 128 and a signal: an abort or trap of V8, a kill by the kernel.
  if ([133, 134, 137].includes(code))
    return `needs more than ${mebibytes} MB of memory, or kills its own process`;
  return `ends its process with status ${code} before it exports anything`;
}

/** Returns the error for a file of PM2 that cannot be used. @param why follows the name of the file */
export function invalidFile(file: string, why: string, hint?: string): AppError {
  return new AppError('invalid_pm2_file', `${file} ${why}`, {
    hint:
      hint ??
      'Sluice evaluates the file like PM2, but without the variables of your shell. Try the file with `sluice check`. Or remove the file, and set "start" in sluice.json.',
  });
}
