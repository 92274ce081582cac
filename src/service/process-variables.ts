import { secretsAmong } from '../config/app/variables.ts';
import { type Origins, sourceOf } from '../config/settings-layers.ts';
import type { generationSpec } from '../deploy/spec.ts';
import type { ProgramPlan, RunPlan } from '../releases/release.ts';

type GenerationSpec = Awaited<ReturnType<typeof generationSpec>>;
type BackgroundSpec = GenerationSpec['background'][number];

/** Variable of an app, as a list shows it. */
interface Row {
  name: string;
  value: string;
  origin: string;
  build: boolean;
  plain: boolean;
  processes: string[] | null;
}

type OwnRow = Pick<Row, 'name' | 'value' | 'origin' | 'plain'>;

/**
 * Names the processes that have each variable of an app, if other processes lack it or have another value, and leaves out those of the
 * release that no process has.
 */
export function withProcesses<R extends Row>(rows: R[], spec: GenerationSpec): R[] {
  const background = spec.background.filter(({ count }) => count > 0);
  const ofWorkers = spec.workers > 0 ? ['web'] : [];
  return rows.flatMap((row): R[] => {
    const others = background.filter((process) => !differs(process, row.name, spec));
    if (row.build || others.length === background.length) return [row];
    const processes = [...ofWorkers, ...others.map(({ name }) => name)];
    return processes.length > 0 || row.origin === 'sluice env set' ? [{ ...row, processes }] : [];
  });
}

/** Returns the variables that single background processes have. @param all true to return those that Sluice sets, too */
export function processVariables(
  run: RunPlan,
  spec: GenerationSpec,
  all: boolean,
): (OwnRow & { processes: string[] })[] {
  const rows = spec.background
    .filter(({ count }) => count > 0)
    .flatMap((process) => ownRows(process, run, spec).map((row) => ({ row, process: process.name })))
    .filter(({ row }) => all || row.origin !== 'Sluice');
  const equal = Map.groupBy(rows, ({ row }) => JSON.stringify(row));
  return [...equal.values()].flatMap(([first, ...others]) =>
    first === undefined
      ? []
      : [{ ...first.row, processes: [first, ...others].map(({ process }) => process) }],
  );
}

function differs({ env }: BackgroundSpec, name: string, spec: GenerationSpec): boolean {
  return Object.hasOwn(env, name) && env[name] !== spec.env[name];
}

function ownRows(
  process: BackgroundSpec,
  { settings, origins, background }: RunPlan,
  spec: GenerationSpec,
): OwnRow[] {
  const plan = background.find(({ name }) => name === process.name);
  const env = settings.processes[process.name]?.env ?? {};
  const setting = { path: `processes.${process.name}.env`, env, origins };
  return Object.entries(process.env).flatMap(([name, value]) =>
    value === null || plan === undefined || !differs(process, name, spec)
      ? []
      : [{ name, value, ...describe(name, value, plan, setting) }],
  );
}

/** Settings of variables: `env` of a release, or of a background process. */
interface EnvSetting {
  path: string;
  env: Record<string, string | null>;
  origins: Origins | undefined;
}

/** Describes where a release has the value of a variable from. @param plan of the workers, or of a background process */
export function describe(
  name: string,
  value: string,
  { env, defaults = {}, secrets = [] }: Pick<ProgramPlan, 'env' | 'defaults' | 'secrets'>,
  setting: EnvSetting,
): Pick<OwnRow, 'origin' | 'plain'> {
  if (Object.hasOwn(env, name)) {
    const plain = !secrets.some((secret) => secret !== '' && value.includes(secret));
    return { origin: 'start command', plain };
  }
  if (Object.hasOwn(setting.env, name)) {
    const plain = secretsAmong({ [name]: setting.env[name] ?? '' }).length === 0;
    return { origin: sourceOf(`${setting.path}.${name}`, setting.origins ?? {}) || 'sluice.json', plain };
  }
  return Object.hasOwn(defaults, name)
    ? { origin: 'env file', plain: false }
    : { origin: 'Sluice', plain: true };
}
