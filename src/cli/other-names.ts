import type { Command } from 'commander';
import { print } from './output.ts';

/** Names that PM2 and other tools have for our commands. */
export const otherNames: Record<string, string> = {
  ls: 'apps',
  list: 'apps',
  ps: 'status',
  describe: 'status',
  show: 'status',
  reload: 'restart',
  delete: 'destroy',
};

/** Names that resemble one of our commands, but whose effect may differ: they are suggestions only. */
export const similarNames: Record<string, string> = {
  remove: 'destroy',
  rm: 'destroy',
  jlist: 'status --json',
  prettylist: 'status --json',
  'reset-metadata': 'restart',
  gracefulReload: 'restart',
};

/** Command of PM2 that Sluice does not need. */
interface Unneeded {
  /** true if the state that the command should bring about is there already, so that scripts may go on */
  isDone: boolean;
  explanation: string;
}

/** Commands of PM2 that have no counterpart, and why. */
export const unneeded: Record<string, Unneeded> = {
  startup: {
    isDone: true,
    explanation:
      'Nothing to do on a system-wide installation: units of systemd start Sluice and your apps at boot.\nCheck with: systemctl is-enabled sluice sluice-runner\nA local installation (`./install.sh --local`) starts nothing at boot.',
  },
  save: {
    isDone: true,
    explanation:
      'Nothing to do: Sluice keeps all apps, releases and variables on the disk, and starts the apps again after a reboot.',
  },
  resurrect: {
    isDone: true,
    explanation: 'Nothing to do: after a reboot, Sluice starts each app that was not stopped.',
  },
  unstartup: {
    isDone: false,
    explanation: 'To keep Sluice from starting at boot: systemctl disable sluice sluice-runner',
  },
  flush: {
    isDone: false,
    explanation:
      'Sluice does not empty logs. It rotates and compresses them, and their size is limited: see "logSize", "keepLogs" and "maxLogBytes" in docs/settings.md.',
  },
  reloadLogs: {
    isDone: true,
    explanation: 'Nothing to do: Sluice writes and rotates the logs itself, without losing a line.',
  },
  kill: {
    isDone: false,
    explanation:
      'To stop an app: sluice stop APP. To stop Sluice with all apps: systemctl stop sluice sluice-runner',
  },
  update: {
    isDone: false,
    explanation: 'To replace Sluice while your apps keep running: sluice upgrade --to SOURCE',
  },
};

/** Adds the commands that only explain, hidden from the help. */
export function registerUnneededCommands(program: Command): void {
  for (const [name, { isDone, explanation }] of Object.entries(unneeded)) {
    program
      .command(name, { hidden: true })
      .argument('[argument...]')
      .allowUnknownOption()
      .description(`Command of PM2. ${explanation}`)
      .action(() => {
        print(explanation);
        if (!isDone) process.exitCode = 2;
      });
  }
}
