import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { attempt } from './command.ts';

const programs = {
  debootstrap: 'debootstrap',
  'systemd-nspawn': 'systemd-container',
  ip: 'iproute2',
  nft: 'nftables',
  nsenter: 'util-linux',
  git: 'git',
  ssh: 'openssh-client',
  curl: 'curl',
};

/** @throws where no guest can be booted here, with what to do about it; a test of the installation is never skipped */
export async function requireGuests(): Promise<void> {
  if (process.platform !== 'linux') fail('they need Linux', 'run them in a virtual machine');
  if (process.getuid?.() !== 0) fail('they need root', 'run them with sudo');
  const missing: string[] = [];
  for (const [program, name] of Object.entries(programs)) if (!(await inPath(program))) missing.push(name);
  if (missing.length > 0) fail('programs are missing', `apt-get install ${missing.join(' ')}`);
  const namespaces = await attempt('unshare', ['--mount', '--pid', '--net', '--fork', 'true']);
  if (namespaces.code !== 0)
    fail(
      `this machine lets nobody have namespaces: ${namespaces.stderr.trim()}`,
      'give the container CAP_SYS_ADMIN',
    );
}

function fail(problem: string, remedy: string): never {
  throw new Error(`the tests of the installation cannot boot guests: ${problem}; ${remedy}`);
}

async function inPath(program: string): Promise<boolean> {
  for (const directory of [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin']) {
    const found = await access(join(directory, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return true;
  }
  return false;
}
