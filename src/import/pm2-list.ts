import * as v from 'valibot';
import { faultsOf } from '../config/settings-file.ts';
import { AppError } from '../errors/app-error.ts';
import { parseJson } from '../system/fs/files.ts';

/** Limit of a list of processes, in bytes. PM2 repeats all variables of each process. */
export const maxListBytes = 32 * 1024 ** 2;
/** Limit of the processes in a list. */
const maxProcesses = 1000;

const absolute = v.pipe(
  v.string(),
  v.regex(/^\/[^\p{Cc}]*$/u, 'an absolute path'),
  v.maxLength(4096, 'a path of at most 4096 characters'),
);
const label = v.pipe(
  v.union([v.string(), v.pipe(v.number(), v.transform(String))], 'a text'),
  v.regex(/^[^\p{Cc}]{1,200}$/u, 'a text of at most 200 characters'),
);
/** A number, or its text: PM2 keeps some options as their author wrote them. */
const number = v.union([v.number(), v.pipe(v.string(), v.regex(/^-?\d+$/), v.transform(Number))]);
const words = v.union([
  v.array(v.string()),
  v.pipe(
    v.string(),
    v.transform((text) => text.split(/\s+/).filter(Boolean)),
  ),
]);
const numbers = v.pipe(
  v.union([v.array(v.number()), v.number()]),
  v.transform((value) => [value].flat()),
);

/** Returns a field that counts as missing if its value has another type. */
function lenient<Schema extends v.GenericSchema>(schema: Schema) {
  return v.optional(v.fallback(v.optional(schema), undefined));
}

/** Options of a process that an import uses. It ignores all others. */
const entry = v.pipe(
  v.looseObject({ pm2_env: lenient(v.looseObject({})) }, 'a process'),
  // `pm2 jlist` has the options in `pm2_env`, and `dump.pm2` has them without it.
  v.transform(({ pm2_env: env, ...process }) => ({ ...env, ...process })),
  v.object({
    name: label,
    pm_exec_path: absolute,
    pm_cwd: absolute,
    pid: lenient(v.pipe(v.number(), v.integer(), v.minValue(1))),
    pm_id: lenient(v.pipe(v.number(), v.integer(), v.minValue(0))),
    namespace: lenient(label),
    exec_mode: lenient(v.picklist(['cluster_mode', 'fork_mode'])),
    exec_interpreter: lenient(label),
    args: lenient(words),
    node_args: lenient(words),
    env: lenient(v.record(v.string(), v.unknown())),
    status: lenient(label),
    kill_timeout: lenient(number),
    listen_timeout: lenient(number),
    wait_ready: lenient(v.boolean()),
    shutdown_with_message: lenient(v.boolean()),
    max_memory_restart: lenient(number),
    max_restarts: lenient(number),
    min_uptime: lenient(number),
    restart_delay: lenient(number),
    exp_backoff_restart_delay: lenient(number),
    autorestart: lenient(v.boolean()),
    stop_exit_codes: lenient(numbers),
    cron_restart: lenient(label),
    instance_var: lenient(label),
    increment_var: lenient(label),
    source_map_support: lenient(v.boolean()),
    node_version: lenient(v.pipe(v.string(), v.regex(/^\d+\.\d+\.\d+$/))),
    pmx_module: lenient(v.boolean()),
    watch: lenient(v.union([v.boolean(), v.array(v.unknown())])),
    pm_out_log_path: lenient(absolute),
    pm_err_log_path: lenient(absolute),
  }),
);

/** Process of PM2. */
export type Pm2Process = v.InferOutput<typeof entry>;

/**
 * Parses the output of `pm2 jlist`, or a file `dump.pm2`. Its author may be anyone.
 * @param source of the text, for errors
 * @throws AppError `invalid_pm2_list`; it never quotes a value, which may be a secret
 */
export function parseProcessList(text: string, source: string): Pm2Process[] {
  if (Buffer.byteLength(text) > maxListBytes)
    throw invalidList(source, `it has more than ${maxListBytes / 1024 ** 2} MiB`);
  let value: unknown;
  try {
    value = parseJson(listIn(text));
  } catch {
    throw invalidList(source, 'it is not JSON');
  }
  const result = v.safeParse(
    v.pipe(
      v.array(entry, 'a list of processes'),
      v.maxLength(maxProcesses, `at most ${maxProcesses} processes`),
    ),
    value,
  );
  if (result.success) return result.output;
  throw invalidList(source, faultsOf(result.issues).slice(0, 5).join('; '));
}

/** Returns the line with the list: PM2 may print notices before it, such as "In-memory PM2 is out-of-date". */
function listIn(text: string): string {
  const trimmed = text.trim();
  if (trimmed.startsWith('[') && trimmed.endsWith(']') && !/^\[PM2\]/.test(trimmed)) return trimmed;
  return trimmed.split('\n').findLast((line) => line.startsWith('[{') || line === '[]') ?? trimmed;
}

function invalidList(source: string, why: string): AppError {
  return new AppError('invalid_pm2_list', `${source} is not a list of PM2 processes: ${why}`, {
    hint: 'Write the list into a file with `pm2 jlist > list.json`, or run `pm2 save`, which writes ~/.pm2/dump.pm2.',
  });
}
