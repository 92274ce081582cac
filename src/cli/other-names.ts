import type { Command } from 'commander';
import { findServer } from '../client/server-address.ts';
import { Paths } from '../config/paths.ts';
import { isUnitHome } from '../system/process/systemd.ts';
import { shellWord } from '../system/text/format.ts';
import { print } from './output.ts';

/** Names that PM2 and other tools have for our commands. */
export const otherNames: Record<string, string> = {
  l: 'apps',
  ls: 'apps',
  list: 'apps',
  ps: 'status',
  desc: 'status',
  describe: 'status',
  info: 'status',
  show: 'status',
  dash: 'monit',
  dashboard: 'monit',
  imonit: 'monit',
  reload: 'restart',
  del: 'destroy',
  delete: 'destroy',
};

/** Names that resemble one of our commands, but whose effect may differ: they are suggestions only. */
export const similarNames: Record<string, string> = {
  remove: 'destroy',
  rm: 'destroy',
  jlist: 'status --json',
  prettylist: 'status --json',
  pid: 'status',
  id: 'status',
  create: 'status',
  inspect: 'status',
  ping: 'status',
  slist: 'status',
  sysinfos: 'status',
  report: 'doctor',
  ecosystem: 'init',
  startOrRestart: 'deploy',
  startOrReload: 'deploy',
  startOrGracefulReload: 'deploy',
  pull: 'deploy',
  forward: 'deploy',
  backward: 'rollback',
  attach: 'console',
  'reset-metadata': 'restart',
  gracefulReload: 'restart',
};

/** Commands of PM2 that Sluice does not need. */
interface Unneeded {
  names: string[];
  /** true if the state that the commands should bring about is there already, so that scripts may go on */
  isDone: boolean;
  explanation: string;
  /** explanation for a server on this machine that systemd does not run */
  withoutSystemd?: (paths: Paths) => string;
}

/** Commands of PM2 that have no counterpart, and why. */
const unneeded: Unneeded[] = [
  {
    names: ['startup'],
    isDone: true,
    explanation:
      'Nothing to do on a system-wide installation: units of systemd start Sluice and your apps at boot.\nCheck with: systemctl is-enabled sluice sluice-runner\nA local installation (`./install.sh --local`) starts nothing at boot.',
  },
  {
    names: ['save', 'dump'],
    isDone: true,
    explanation:
      'Nothing to do: Sluice keeps all apps, releases and variables on the disk, and starts the apps again after a reboot.',
  },
  {
    names: ['resurrect'],
    isDone: true,
    explanation: 'Nothing to do: after a reboot, Sluice starts each app that was not stopped.',
  },
  {
    names: ['cleardump'],
    isDone: false,
    explanation: 'Sluice has no dump. To remove an app with its data: sluice destroy APP',
  },
  {
    names: ['unstartup'],
    isDone: false,
    explanation: 'To keep Sluice from starting at boot: systemctl disable sluice sluice-runner',
    withoutSystemd: () => 'systemd does not run this Sluice, and does not start it at boot.',
  },
  {
    names: ['flush'],
    isDone: false,
    explanation:
      'Sluice does not empty logs. It rotates and compresses them, and their size is limited: see "logSize", "keepLogs" and "maxLogBytes" in docs/settings.md.',
  },
  {
    names: ['reloadLogs', 'logrotate'],
    isDone: true,
    explanation: 'Nothing to do: Sluice writes and rotates the logs itself, without losing a line.',
  },
  {
    names: ['reset'],
    isDone: false,
    explanation:
      'Sluice counts restarts from the switch to a release on. New workers begin a new count: sluice restart APP',
  },
  {
    names: ['kill'],
    isDone: false,
    explanation:
      'To stop an app: sluice stop APP. To stop Sluice with all apps: systemctl stop sluice.socket sluice sluice-runner',
    withoutSystemd: ({ supervisor }) =>
      `To stop an app: sluice stop APP. To stop Sluice with all apps: kill "$(cat ${shellWord(supervisor)})"`,
  },
  {
    names: ['update', 'updatePM2', 'deepUpdate'],
    isDone: false,
    explanation: 'To replace Sluice while your apps keep running: sluice upgrade --to SOURCE',
  },
  {
    names: ['set', 'multiset', 'get', 'conf', 'config', 'unset'],
    isDone: false,
    explanation:
      'Settings are in files: sluice.json of an app, and config.json of Sluice. See docs/settings.md. To set a variable of an app: sluice env set APP NAME=value',
  },
  {
    names: ['install', 'uninstall', 'package', 'publish', 'autoinstall', 'install-otel', 'uninstall-otel'],
    isDone: false,
    explanation:
      'Sluice has no modules. It rotates logs itself, and shows metrics of apps: sluice status APP',
  },
  {
    names: ['module:install', 'module:update', 'module:uninstall', 'module:generate', 'module:publish'],
    isDone: false,
    explanation: 'Sluice has no modules.',
  },
  {
    names: ['link', 'unlink', 'monitor', 'unmonitor', 'open', 'plus', 'register', 'login', 'logout'],
    isDone: false,
    explanation: 'Sluice has no dashboard on another server. To watch apps: sluice monit',
  },
  {
    names: ['trigger', 'send', 'sendSignal'],
    isDone: false,
    explanation:
      'Sluice passes no actions, input or signals to the processes of an app. To run code in the live release: sluice run APP -- node FILE',
  },
  {
    names: ['profile:mem', 'profile:cpu', 'profile:heap'],
    isDone: false,
    explanation: 'Sluice takes no profiles. To watch memory and CPU of each process: sluice monit',
  },
  {
    names: ['serve', 'expose'],
    isDone: false,
    explanation: 'To serve a directory, deploy the directory: see docs/static.md.',
  },
  {
    names: ['examples'],
    isDone: false,
    explanation: 'docs/from-pm2.md has the commands of PM2 next to those of Sluice.',
  },
];

/** Adds the commands that only explain, hidden from the help. */
export function registerUnneededCommands(program: Command): void {
  for (const { names, ...each } of unneeded) {
    for (const name of names) {
      program
        .command(name, { hidden: true })
        .argument('[argument...]')
        .allowUnknownOption()
        .description(`Command of PM2. ${each.explanation}`)
        .action(() => explain(each));
    }
  }
}

async function explain({ isDone, explanation, withoutSystemd }: Omit<Unneeded, 'names'>): Promise<void> {
  print((withoutSystemd && (await explainLocally(withoutSystemd))) ?? explanation);
  if (!isDone) process.exitCode = 2;
}

/** Returns the explanation for a server on this machine that systemd does not run; undefined for all other servers. */
async function explainLocally(
  withoutSystemd: NonNullable<Unneeded['withoutSystemd']>,
): Promise<string | undefined> {
  const address = await findServer();
  if (address.kind !== 'socket' || (await isUnitHome(address.home))) return undefined;
  return withoutSystemd(new Paths(address.home));
}
