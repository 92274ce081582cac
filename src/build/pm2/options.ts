/** App of a file of PM2: its options by the names that PM2's documentation uses, and its variables for each environment. */
export interface Pm2App {
  options: Record<string, unknown>;
  /** `env_production` and so on, by the name of the environment */
  environments: Map<string, unknown>;
  /** names, as written, of options without meaning for Sluice */
  ignored: string[];
}

/** Other names of options. PM2 also accepts each name in camel case. */
const aliases: Record<string, string[]> = {
  script: ['exec', 'cmd', 'command'],
  interpreter: ['exec_interpreter'],
  node_args: ['interpreter_args'],
  cron_restart: ['cron'],
  name: [],
  cwd: [],
  args: [],
  instances: [],
  exec_mode: [],
  wait_ready: [],
  listen_timeout: [],
  kill_timeout: [],
  shutdown_with_message: [],
  max_memory_restart: [],
  autorestart: [],
  autostart: [],
  max_restarts: [],
  min_uptime: [],
  restart_delay: [],
  exp_backoff_restart_delay: [],
  stop_exit_codes: [],
  env: [],
  instance_var: [],
  increment_var: [],
  source_map_support: [],
  disable_source_map_support: [],
  port: [],
};

/** Options whose effect Sluice always has: one log with times for all processes, and no variables of a shell. */
const always = new Set([
  'merge_logs',
  'combine_logs',
  'log_date_format',
  'time',
  'filter_env',
  'execute_command',
]);

const nameOf = new Map(
  Object.entries(aliases).flatMap(([name, others]) =>
    [name, ...others].flatMap((each) => [each, camelCase(each)].map((written) => [written, name] as const)),
  ),
);

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** Sorts the options of an app. */
export function readApp(app: Record<string, unknown>): Pm2App {
  const found: Pm2App = { options: {}, environments: new Map(), ignored: [] };
  for (const [written, value] of Object.entries(app)) {
    if (value === null || value === undefined) continue;
    const name = nameOf.get(written);
    const environment = /^env_(\S+)$/.exec(written)?.[1];
    // The documented name has precedence.
    if (name !== undefined) {
      if (name === written || !found.options[name]) found.options[name] = value;
    } else if (environment !== undefined) found.environments.set(environment, value);
    else if (!always.has(snakeCase(written))) found.ignored.push(written);
  }
  return found;
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Returns a number, also if it is written as a text; undefined for other values. */
export function numberOf(value: unknown): number | undefined {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

const unitsOfTime: Record<string, number> = { '': 1, s: 1000, m: 60_000, h: 3_600_000 };
const unitsOfSize: Record<string, number> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** Longest time of a setting, in ms: 12 days. */
const longest = 288 * 3_600_000;

/** Returns a time in ms: a number of ms, or a text such as `10s`, up to 12 days; undefined for other values. */
export function timeOf(value: unknown): number | undefined {
  const time = quantityOf(value, /^(\d+(?:\.\d+)?)(h|m|s)?$/, unitsOfTime);
  return time === undefined ? undefined : Math.min(time, longest);
}

/** Returns a size in bytes: a number of bytes, or a text such as `300M`; undefined for other values. */
export function sizeOf(value: unknown): number | undefined {
  return quantityOf(value, /^(\d+(?:\.\d+)?) ?([GMK])?B?$/i, unitsOfSize);
}

function quantityOf(value: unknown, pattern: RegExp, units: Record<string, number>): number | undefined {
  const [, digits, unit = ''] = pattern.exec(String(value)) ?? [];
  const factor = units[unit] ?? units[unit.toUpperCase()];
  if (digits === undefined || factor === undefined || !['string', 'number'].includes(typeof value))
    return undefined;
  return Math.round(Number(digits) * factor);
}

/** Returns the words of an option: a list, or a text that PM2 splits at spaces outside of quotes. */
export function wordsOf(value: unknown): string[] {
  if (Array.isArray(value)) return value.filter((word) => word !== null).map(String);
  if (typeof value !== 'string') return value === undefined ? [] : [String(value)];
  const words = value.match(/[^\s"'=]+="[^"]*"|[^\s"'=]+='[^']*'|"[^"]*"|'[^']*'|\S+/g) ?? [];
  return words.map((word) => /^(["'])(.*)\1$/s.exec(word)?.[2] ?? word).filter((word) => word.trim() !== '');
}
