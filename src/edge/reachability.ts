import { randomBytes } from 'node:crypto';
import { lookup, Resolver } from 'node:dns/promises';
import { chmod, rm } from 'node:fs/promises';
import { isIPv6 } from 'node:net';
import { join } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';
import { writeFileAtomic } from '../system/fs/files.ts';
import { http } from '../system/net/http.ts';

interface ReachOptions {
  challenges: string;
  /** of the authority's question; 80 but in tests */
  httpPort: number;
  /** asked instead of the machine's resolver */
  dnsServer?: string | undefined;
}

/**
 * Looks, as the ACME server will, whether a name leads to this machine and port 80 is answered by our nginx. An order
 * that fails for that counts against a limit over there, and this costs nothing.
 * @throws AppError `domain_unreachable` that says where the name leads, and what answers there
 */
export async function assertReachable(name: string, options: ReachOptions): Promise<void> {
  const addresses = await resolve(name, options.dnsServer);
  const token = `sluice-${randomBytes(16).toString('hex')}`;
  const content = randomBytes(16).toString('hex');
  const file = join(options.challenges, token);
  await writeFileAtomic(file, content);
  // Whatever our umask is: it is nginx's user that reads it.
  await chmod(file, 0o644);
  try {
    const findings = await Promise.all(
      addresses.map((address) => look(name, address, token, content, options.httpPort)),
    );
    // One that cannot be reached from here may be of a kind (IPv6) that this machine has not; what answers wrongly is wrong.
    const wrong = findings.filter(({ state }) => state === 'wrong');
    if (wrong.length === 0 && findings.some(({ state }) => state === 'right')) return;
    const told = (wrong.length > 0 ? wrong : findings).map(({ text }) => text).join('; ');
    throw unreachable(
      `${name} does not lead here: ${told}`,
      `Let the A record of ${name} (and AAAA, if it has one) be an address of this server, and let port ${options.httpPort} through to it. It is tried again by itself; \`sluice domains add\` once more tries at once.`,
    );
  } finally {
    await rm(file, { force: true });
  }
}

async function resolve(name: string, dnsServer: string | undefined): Promise<string[]> {
  try {
    return dnsServer === undefined
      ? (await lookup(name, { all: true })).map(({ address }) => address)
      : await resolveAt(name, dnsServer);
  } catch (error) {
    const code = systemCode(error) ?? '';
    const why = ['ENOTFOUND', 'ENODATA'].includes(code)
      ? 'it has no address in DNS'
      : `its address could not be found out: ${code || (error as Error).message}`;
    throw unreachable(
      `${name} leads nowhere: ${why}`,
      `Make an A record for ${name} with the address of this server. It is tried again by itself; what DNS did not have may be remembered for some minutes.`,
      error,
    );
  }
}

async function resolveAt(name: string, dnsServer: string): Promise<string[]> {
  const resolver = new Resolver({ timeout: 3000, tries: 2 });
  resolver.setServers([dnsServer]);
  const found = await Promise.allSettled([resolver.resolve4(name), resolver.resolve6(name)]);
  const addresses = found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  if (addresses.length > 0) return addresses;
  throw found[0].status === 'rejected' ? found[0].reason : Object.assign(new Error(), { code: 'ENODATA' });
}

interface Finding {
  state: 'right' | 'wrong' | 'silent';
  text: string;
}

function look(name: string, address: string, token: string, content: string, port: number): Promise<Finding> {
  return new Promise((resolve) => {
    const request = http.get(
      {
        ...{ host: address, port, family: isIPv6(address) ? 6 : 4, agent: false, timeout: 10_000 },
        path: `/.well-known/acme-challenge/${token}`,
        headers: { host: name },
      },
      (response) => {
        let body = '';
        response.setEncoding('latin1');
        response.on('data', (chunk: string) => {
          body = (body + chunk).slice(0, 1000);
        });
        response.on('error', (error) =>
          resolve({ state: 'wrong', text: `${address} broke off its answer (${error.message})` }),
        );
        response.on('end', () =>
          resolve(
            body === content
              ? { state: 'right', text: `${address} is this machine` }
              : {
                  state: 'wrong',
                  text: `${address} answers on port ${port} with ${response.statusCode}, and is another machine or another program`,
                },
          ),
        );
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer within 10 s')));
    request.on('error', (error) =>
      resolve({
        state: 'silent',
        text: `${address} cannot be reached on port ${port} (${systemCode(error) ?? error.message})`,
      }),
    );
  });
}

function unreachable(message: string, hint: string, cause?: unknown): AppError {
  return new AppError('domain_unreachable', message, { hint, cause });
}
