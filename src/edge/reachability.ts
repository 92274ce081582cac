import { randomBytes } from 'node:crypto';
import { lookup, Resolver } from 'node:dns/promises';
import { rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { AppError, systemCode } from '../errors/app-error.ts';
import { writeFileAtomic } from '../system/fs/files.ts';
import { bodyOf, requestHost } from './host-request.ts';

interface ReachOptions {
  challenges: string;
  /** port of the authority's request; 80 except in tests */
  httpPort: number;
  /** DNS server instead of the machine's resolver */
  dnsServer?: string | undefined;
}

/**
 * Checks, as the ACME server will, that a name resolves to this machine and that our nginx answers on port 80. The ACME
 * server counts failed orders against a limit; this check costs nothing.
 * @throws AppError `domain_unreachable` with the addresses of the name, and their answers
 */
export async function assertReachable(name: string, options: ReachOptions): Promise<void> {
  const addresses = await resolve(name, options.dnsServer);
  const token = `sluice-${randomBytes(16).toString('hex')}`;
  const content = randomBytes(16).toString('hex');
  const file = join(options.challenges, token);
  // The user of nginx reads this file.
  await writeFileAtomic(file, content, 0o644);
  try {
    const path = `/.well-known/acme-challenge/${token}`;
    const request = { port: options.httpPort, path, timeout: 10_000 };
    const findings = await Promise.all(addresses.map((host) => check(name, content, { ...request, host })));
    // This machine may lack IPv6, so an address without an answer does not count, unless there is no other.
    const wrong = findings.filter(({ state }) => state === 'wrong');
    if (wrong.length === 0 && findings.some(({ state }) => state === 'right')) return;
    const reasons = (wrong.length > 0 ? wrong : findings).map(({ text }) => text).join('; ');
    throw unreachable(
      `${name} does not resolve to this server: ${reasons}`,
      `Set the A record of ${name} (and AAAA, if it has one) to an address of this server, and open port ${options.httpPort}. Sluice tries again later; \`sluice domains add\` tries at once.`,
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
      : `its address could not be found: ${code || (error as Error).message}`;
    throw unreachable(
      `${name} does not resolve: ${why}`,
      `Create an A record for ${name} with the address of this server. Sluice tries again later. Resolvers may remember for some minutes that the record was missing.`,
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

async function check(
  name: string,
  content: string,
  request: { host: string; port: number; path: string; timeout: number },
): Promise<Finding> {
  const { host: address, port } = request;
  let response: IncomingMessage | undefined;
  try {
    response = await requestHost('http', name, request);
    if ((await bodyOf(response)) === content) return { state: 'right', text: `${address} is this machine` };
    const text = `${address} answers on port ${port} with ${response.statusCode}, and is another machine or another program`;
    return { state: 'wrong', text };
  } catch (error) {
    const { message } = error as Error;
    if (response !== undefined)
      return { state: 'wrong', text: `${address} sent an incomplete answer (${message})` };
    const text = `${address} cannot be reached on port ${port} (${systemCode(error) ?? message})`;
    return { state: 'silent', text };
  }
}

function unreachable(message: string, hint: string, cause?: unknown): AppError {
  return new AppError('domain_unreachable', message, { hint, cause });
}
