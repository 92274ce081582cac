import { appVariables } from './foreign-variables.ts';
import type { Pm2Process } from './pm2-list.ts';

/** App of PM2: one process, or several instances of a script. */
export interface Pm2App extends Omit<Pm2Process, 'pid' | 'pm_id' | 'env' | 'status'> {
  ids: number[];
  /** pids of the instances that run */
  pids: number[];
  instances: number;
  isCluster: boolean;
  isOnline: boolean;
  /** variables without those of the shell and of PM2 */
  variables: Record<string, string>;
  /** port in the variable PORT */
  portVariable: number | undefined;
  logs: string[];
}

/** Groups processes into apps, in the order of the list. Leaves out modules of PM2, such as pm2-logrotate. */
export function appsOf(processes: readonly Pm2Process[]): { apps: Pm2App[]; modules: string[] } {
  const keyOf = ({ namespace, name, pm_exec_path: script, pm_cwd: cwd, exec_mode: mode }: Pm2Process) =>
    JSON.stringify([namespace, name, script, cwd, mode]);
  const groups = Map.groupBy(
    processes.filter(({ pmx_module: isModule }) => isModule !== true),
    keyOf,
  );
  const modules = processes.filter(({ pmx_module: isModule }) => isModule === true).map(({ name }) => name);
  return { apps: [...groups.values()].map(appOf), modules: [...new Set(modules)] };
}

function appOf(processes: Pm2Process[]): Pm2App {
  const [{ pid: _pid, pm_id: _id, env = {}, status: _status, ...first }] = processes as [Pm2Process];
  const running = processes.filter(({ status = 'online' }) => status === 'online' || status === 'launching');
  // PM2 sets a variable with the name of the app, for the settings of its modules.
  const { [first.name]: ofModules, ...own } = env;
  const variables = ofModules === '{}' ? own : env;
  const port = Number(env['PORT']);
  const logs = processes.flatMap(({ pm_out_log_path: out, pm_err_log_path: errors }) => [out, errors]);
  return {
    ...first,
    ids: processes.flatMap(({ pm_id: id }) => id ?? []),
    pids: running.flatMap(({ pid }) => pid ?? []),
    instances: processes.length,
    isCluster: first.exec_mode === 'cluster_mode',
    isOnline: running.length > 0,
    variables: appVariables(variables, first.instance_var),
    portVariable: Number.isInteger(port) && port >= 1 && port <= 65_535 ? port : undefined,
    logs: [...new Set(logs)].filter((path) => path !== undefined),
  };
}
