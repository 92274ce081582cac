import { secretsAmong } from '../config/app/variables.ts';
import { environmentOf, parentOf } from '../system/process/processes.ts';
import { namedInFiles } from './named-in-files.ts';
import type { Pm2App } from './pm2-apps.ts';
import { within } from './project.ts';

/** Variables of a program by name. */
export type Environment = ReadonlyMap<string, string>;

/**
 * Variables that no file of an app needs to name: Node.js or a library of the system reads them, or a package that forms names such as
 * `DATABASE__HOST`.
 */
const unnamed = /^(?:TZ$|NODE_|UV_|LD_|MALLOC_|OPENSSL_|SSL_CERT_(?:FILE|DIR)$)|__|_proxy$/i;

/** Returns the environments of this process and of the programs that have started it, such as the shell and sudo. */
export function shellEnvironments(): Environment[] {
  const environments = [environmentOf(process.pid)];
  for (let pid = parentOf(process.pid); pid !== undefined && pid > 0; pid = parentOf(pid))
    environments.push(environmentOf(pid));
  return environments;
}

/**
 * Returns the names of variables that apps have only because PM2 copies the environment of the shell that starts an app: the shell of
 * today or an app with other code has the same value, and no file of the apps names the variable. The daemon of PM2 proves nothing, as it
 * has the variables of the first app. In doubt, a variable belongs to the apps: one too many is harmless, and one that is missing is not.
 * @param root directory with the code of the apps
 * @param all apps of PM2
 * @param shell environments of shells
 */
export function machineVariables(
  root: string,
  apps: readonly Pm2App[],
  { all, shell }: { all: readonly Pm2App[]; shell: readonly Environment[] },
): Set<string> {
  const others = all.filter(({ pm_cwd: cwd, pm_exec_path: script }) =>
    [cwd, script].every((path) => within(root, path) === undefined),
  );
  const environments = [...shell, ...others.map(({ variables }) => new Map(Object.entries(variables)))];
  const isOnMachine = (name: string, value: string) =>
    environments.some((environment) => environment.get(name) === value);
  const names = new Set(apps.flatMap(({ variables }) => Object.keys(variables)));
  const candidates = [...names].filter((name) => {
    const values = apps.flatMap(({ variables }) => variables[name] ?? []);
    const isSecret = values.some((value) => secretsAmong({ [name]: value }).length > 0);
    return !unnamed.test(name) && !isSecret && values.every((value) => isOnMachine(name, value));
  });
  const named = candidates.length === 0 ? new Set() : namedInFiles(root, candidates);
  return new Set(candidates.filter((name) => !named.has(name)));
}
