import { installRoot, ownUnits } from '../config/installed.ts';
import { exists } from '../system/fs/exists.ts';
import { showUnits, type Unit } from '../system/process/systemd.ts';
import { type Check, fault, ok, type Patient, warning } from './check.ts';

/** Any of them lets pushes in: Debian, others, and Ubuntu from 24.04 on, which starts it for each connection. */
const ssh = ['ssh.service', 'sshd.service', 'ssh.socket', 'sshd.socket'];
const edge = ['nginx.service', 'sluice-edge.path'];
const edgeConfig = '/etc/nginx/conf.d/sluice.conf';

/** On a system-wide install, whether systemd runs what is to run, and will after a reboot. */
export async function checkUnits({ systemWide }: Patient): Promise<Check | undefined> {
  if (!systemWide) return undefined;
  const wanted = [...ownUnits, ...((await exists(edgeConfig)) ? edge : [])];
  const units = await showUnits(wanted);
  const down = wanted.filter((name) => units.find(({ id }) => id === name)?.active !== 'active');
  if (down.length > 0) {
    const states = down.map(
      (name) => `${name} is ${units.find(({ id }) => id === name)?.active ?? 'not there'}`,
    );
    const isWhole = down.every((name) => units.some(({ id }) => id === name));
    const remedy = `systemctl start ${down.join(' ')}\n${whyOf(down)}`;
    return fault('units', states.join('\n'), isWhole ? remedy : `${installRoot}/current/install.sh`);
  }
  const idle = units.filter((unit) => !startsWithMachine(unit)).map(({ id }) => id);
  if (idle.length > 0) {
    return warning(
      'units',
      `${idle.join(', ')} will not start with the machine`,
      `systemctl enable ${idle.join(' ')}`,
    );
  }
  const listening = (await showUnits(ssh)).some(({ active }) => active === 'active');
  if (!listening) {
    return warning(
      'units',
      'no sshd runs: nobody can push over ssh',
      'systemctl start ssh (Debian: apt-get install openssh-server)',
    );
  }
  return ok('units', `${[...wanted, 'ssh'].join(', ')} are active, and start with the machine`);
}

function startsWithMachine({ enabled }: Unit): boolean {
  return ['enabled', 'enabled-runtime', 'static', 'indirect', 'alias'].includes(enabled);
}

function whyOf(names: string[]): string {
  return `Why: journalctl --lines=50 ${names.map((name) => `--unit=${name}`).join(' ')}`;
}
