import type { Environment } from '../apps/environment.ts';
import type { VariableSet } from '../apps/variable-set.ts';
import { containsAny } from '../deploy/passed-on.ts';
import { generationSpec } from '../deploy/spec.ts';
import type { RunPlan } from '../releases/release.ts';
import { describe, processVariables, withProcesses } from './process-variables.ts';

/** Variable of an app, with its origin, as the API and `sluice env list --json` show it. */
export interface ListedVariable {
  name: string;
  /** null if the value is hidden */
  value: string | null;
  /** `sluice env set`, a file of the release such as `sluice.json`, or `Sluice` for what Sluice itself sets */
  origin: string;
  /** true if only builds get the variable */
  build: boolean;
  /** true if the value is not secret */
  plain: boolean;
  /** `web` for the workers, and names of background processes, that have the value; null for all processes that have the variable */
  processes: string[] | null;
  /** who has set the variable, and when (ISO 8601); null if unknown */
  by: string | null;
  at: string | null;
}

interface ListOptions {
  /** true if the caller may know values */
  mayKnow: boolean;
  /** true to show values that may be secret */
  show: boolean;
  /** true to list what Sluice sets, too */
  all: boolean;
}

/**
 * Lists the variables that were set, then those of the live release, then those that Sluice sets, and at last those of single background
 * processes.
 */
export async function listVariables(
  environment: Environment,
  { mayKnow, show, all }: ListOptions,
): Promise<ListedVariable[]> {
  const set = await environment.variableSet();
  const live = await environment.liveRelease();
  const running = live?.run ? { run: live.run, spec: await generationSpec(environment, live) } : undefined;
  const env = running?.spec.env ?? {};
  const ofRelease = running ? releaseVariables(running.run, env) : [];
  const known = new Set([...Object.keys(set.app), ...ofRelease.map(({ name }) => name)]);
  const others = Object.keys(env).filter((name) => all && !known.has(name));
  const shared = [
    ...setVariables(set),
    ...ofRelease.filter(({ name }) => env[name] !== set.app[name]),
    ...others.map((name) => ({ ...unset, name, value: env[name] ?? '', origin: 'Sluice', plain: true })),
  ];
  const rows: Row[] = running
    ? [
        ...withProcesses(shared, running.spec),
        ...processVariables(running.run, running.spec, all).map((row) => ({ ...unset, ...row })),
      ]
    : shared;
  const isSecret = containsAny(running?.spec.log.secrets ?? []);
  return rows.map((row) => {
    const plain = row.plain && (notOfRelease.has(row.origin) || !isSecret(row.value));
    return { ...row, plain, value: mayKnow && (show || plain) ? row.value : null };
  });
}

/** Origins of variables that are plain whatever secrets their values contain. */
const notOfRelease = new Set(['sluice env set', 'Sluice']);

type Row = ListedVariable & { value: string };

/** Facts about a variable that `sluice env set` has not set. */
const unset = { build: false, processes: null, by: null, at: null };

function setVariables({ app, build, facts }: VariableSet): Row[] {
  return Object.entries({ ...build, ...app }).map(([name, value]) => {
    const { plain = false, by = null, at = null } = facts[name] ?? {};
    const kind = { build: !Object.hasOwn(app, name), plain };
    return { name, value, origin: 'sluice env set', ...kind, processes: null, by, at };
  });
}

/** Returns the variables that a release itself has: those of its start command, of its settings, and of env files that the command names. */
function releaseVariables(run: RunPlan, env: Record<string, string>): Row[] {
  const { settings, origins } = run;
  const setting = { path: 'env', env: settings.env, origins };
  return Object.keys({ ...run.env, ...settings.env, ...run.defaults }).map((name) => {
    const value = env[name] ?? '';
    return { ...unset, name, value, ...describe(name, value, run, setting) };
  });
}
