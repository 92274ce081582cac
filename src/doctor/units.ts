import { installRoot, otherSocketUnits, ownUnits, serverUnit, socketUnit } from '../config/installed.ts';
import { exists } from '../system/fs/exists.ts';
import { showUnits } from '../system/process/systemd.ts';
import { type Finding, fault, ok, warning } from './check.ts';
import type { Snapshot } from './snapshot.ts';

/** Units of sshd: one is enough. Debian, other distributions, and Ubuntu from 24.04 on, which starts it for each connection. */
const sshUnits = ['ssh.service', 'sshd.service', 'ssh.socket', 'sshd.socket'];
const edgeUnits = ['nginx.service', 'sluice-edge.path'];
const edgeConfig = '/etc/nginx/conf.d/sluice.conf';

/** States of units that start with the machine. */
const startingStates = ['enabled', 'enabled-runtime', 'static', 'indirect', 'alias'];

/** Checks that systemd runs all units of a system-wide installation, and starts them with the machine. */
export async function* checkUnits({ systemWide, server }: Snapshot): AsyncIterable<Finding> {
  if (!systemWide) return;
  const basic = [...ownUnits, ...((await exists(edgeConfig)) ? edgeUnits : [])];
  // Without the units of the other sockets, the server opens these sockets itself.
  const units = await showUnits([...basic, ...otherSocketUnits]);
  const required = [...new Set([...basic, ...units.map(({ id }) => id)])];
  const stateOf = (name: string) => units.find(({ id }) => id === name)?.active;
  const serverState = stateOf(serverUnit);
  // The questions of this command start a server that rests. It is ready only when all apps run.
  const isStarting = serverState === 'activating' && server.state !== 'down';
  const isFine = stateOf(socketUnit) === 'active' && (serverState === 'inactive' || isStarting);
  const down = required.filter((name) => stateOf(name) !== 'active' && !(name === serverUnit && isFine));
  if (down.length > 0) {
    const states = down.map((name) => `${name} is ${stateOf(name) ?? 'not there'}`);
    const isComplete = down.every((name) => stateOf(name) !== undefined);
    const why = `Why: journalctl --lines=50 ${down.map((name) => `--unit=${name}`).join(' ')}`;
    const start = `systemctl start ${down.join(' ')}\n${why}`;
    return yield fault(states.join('\n'), isComplete ? start : `${installRoot}/current/install.sh`);
  }
  const idle = units.filter(({ enabled }) => !startingStates.includes(enabled)).map(({ id }) => id);
  if (idle.length > 0) {
    return yield warning(
      `${idle.join(', ')} will not start with the machine`,
      `systemctl enable ${idle.join(' ')}`,
    );
  }
  if (!(await showUnits(sshUnits)).some(({ active }) => active === 'active')) {
    yield warning(
      'sshd does not run: nobody can push over ssh',
      'systemctl start ssh (Debian: apt-get install openssh-server)',
    );
  }
  yield ok(`${[...required, 'ssh'].join(', ')} are active, and start with the machine`);
}
