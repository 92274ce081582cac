import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../../../src/system/fs/exists.ts';
import { attempt } from './command.ts';

/** Settings by which this machine, and so each guest, reaches the packages of Debian and npm. */
export interface Host {
  mirror: string;
  securityMirror: string;
  /** lines for apt's configuration */
  apt: string[];
  /** variables of proxies and of the npm registry */
  env: Record<string, string>;
  /** certificates, by the names of their files, that this machine trusts beside the usual ones */
  authorities: Record<string, string>;
  resolvConf: string;
}

export async function host(): Promise<Host> {
  const authorities = await extraAuthorities();
  const registry = (await attempt('npm', ['config', 'get', 'registry'])).stdout.trim();
  return {
    ...(await mirrors()),
    apt: await aptSettings(),
    env: {
      ...proxies(),
      ...(registry !== '' && registry !== 'undefined' && { NPM_CONFIG_REGISTRY: registry }),
      // Node.js brings authorities of its own, and npm goes by them.
      ...(Object.keys(authorities).length > 0 && {
        NODE_EXTRA_CA_CERTS: '/etc/ssl/certs/ca-certificates.crt',
      }),
    },
    authorities,
    resolvConf: await resolvConf(),
  };
}

async function mirrors(): Promise<Pick<Host, 'mirror' | 'securityMirror'>> {
  const { stdout } = await attempt('apt-get', ['indextargets', '--format', '$(SITE) $(CODENAME)']);
  const rows = stdout.split('\n').map((line) => line.split(' '));
  const site = (security: boolean) =>
    rows.find(([url = '', name = '']) => /debian/.test(url) && name.endsWith('-security') === security)?.[0];
  const mirror = process.env['SLUICE_TEST_MIRROR'] ?? site(false);
  const securityMirror = process.env['SLUICE_TEST_SECURITY_MIRROR'] ?? site(true);
  if (mirror === undefined || securityMirror === undefined)
    throw new Error(
      'this machine has no mirror of Debian in its apt sources: set SLUICE_TEST_MIRROR and SLUICE_TEST_SECURITY_MIRROR',
    );
  return { mirror, securityMirror };
}

async function aptSettings(): Promise<string[]> {
  const { stdout } = await attempt('apt-config', ['dump']);
  return stdout
    .split('\n')
    .filter((line) => /^Acquire::(?:Check-(?:Valid-Until|Date)|https?::Proxy) /.test(line));
}

function proxies(): Record<string, string> {
  const all = Object.entries(process.env) as [string, string][];
  return Object.fromEntries(all.filter(([name]) => /^(?:https?|no)_proxy$/i.test(name)));
}

async function extraAuthorities(): Promise<Record<string, string>> {
  const directory = '/usr/local/share/ca-certificates';
  if (!(await exists(directory))) return {};
  const names = (await readdir(directory, { recursive: true })).filter((name) => name.endsWith('.crt'));
  const read = async (name: string) => [
    name.replaceAll('/', '-'),
    await readFile(join(directory, name), 'utf8'),
  ];
  return Object.fromEntries(await Promise.all(names.map(read)));
}

/** That of the machine, or of its systemd-resolved: a server on loopback is not reached from another network. */
async function resolvConf(): Promise<string> {
  for (const path of ['/etc/resolv.conf', '/run/systemd/resolve/resolv.conf']) {
    if (!(await exists(path))) continue;
    const lines = (await readFile(path, 'utf8')).split('\n');
    const usable = lines.filter(
      (line) => /^(?:nameserver|search|options)\b/.test(line) && !/^nameserver\s+(?:127\.|::1)/.test(line),
    );
    if (usable.some((line) => line.startsWith('nameserver'))) return `${usable.join('\n')}\n`;
  }
  throw new Error('this machine names no server of DNS that a network of its own could reach');
}
