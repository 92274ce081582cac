import { join } from 'node:path';
import { waitFor } from '../../support/wait.ts';
import { run } from './command.ts';
import type { Guest } from './guest.ts';
import { installPackage } from './packages.ts';

const directory = '/root/pebble';
const certificate = '/etc/ssl/pebble.pem';
const dns = '127.0.0.1:8053';

/** Setting `acme` of config.json for the authority. */
export const acme = { directory: 'https://127.0.0.1:14000/dir', caFile: certificate, dnsServer: dns };

/**
 * An ACME server on a guest, from Debian's packages, to which every name leads to the guest itself.
 * @returns the certificate that those that it issues go back to
 */
export async function startAuthority(guest: Guest): Promise<string> {
  await installPackage(guest, 'pebble');
  await guest.exec(`mkdir ${directory}`);
  await run('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...['-subj', '/CN=pebble', '-addext', 'subjectAltName=IP:127.0.0.1'],
    ...['-keyout', join(guest.root, directory, 'key.pem'), '-out', join(guest.root, certificate)],
  ]);
  const pebble = {
    listenAddress: '127.0.0.1:14000',
    managementListenAddress: '127.0.0.1:15000',
    certificate,
    privateKey: `${directory}/key.pem`,
    httpPort: 80,
    tlsPort: 443,
  };
  await guest.write(`${directory}/pebble.json`, JSON.stringify({ pebble }));
  await guest.exec(`
    systemd-run -q --unit=pebble-dns pebble-challtestsrv -dns01 ${dns} -management 127.0.0.1:8055 \\
      -http01 '' -https01 '' -tlsalpn01 '' -defaultIPv4 127.0.0.1 -defaultIPv6 ''
    systemd-run -q --unit=pebble --setenv=PEBBLE_VA_NOSLEEP=1 pebble -config ${directory}/pebble.json -dnsserver ${dns}`);
  const root = async () => {
    const { code, stdout } = await guest.try('curl -sSf --insecure https://127.0.0.1:15000/roots/0');
    return code === 0 && stdout;
  };
  return await waitFor(root, { what: 'the ACME server', timeout: 30_000 });
}
