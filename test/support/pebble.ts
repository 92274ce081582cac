import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from './free-port.ts';
import { waitFor } from './wait.ts';

interface PebbleOptions {
  /** that it looks at names on */
  httpPort: number;
  /** of the certificates that it issues, in seconds */
  validity?: number;
  /** such as PEBBLE_VA_SLEEPTIME */
  env?: Record<string, string>;
}

/** A real ACME server, with a DNS server that says what a test wants it to; both gone after the test. */
export async function startPebble(t: Pick<TestContext, 'after'>, options: PebbleOptions): Promise<Pebble> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-pebble-'));
  const pebble = new Pebble(directory, {
    ...{ acme: await freePort(), management: await freePort() },
    ...{ dns: await freePort(), dnsManagement: await freePort() },
  });
  t.after(async () => {
    await pebble.end();
    await rm(directory, { recursive: true, force: true });
  });
  await pebble.up(options);
  return pebble;
}

interface Ports {
  acme: number;
  management: number;
  dns: number;
  dnsManagement: number;
}

export class Pebble {
  readonly #directory: string;
  readonly #ports: Ports;
  readonly #children: ChildProcess[] = [];
  #said = '';

  constructor(directory: string, ports: Ports) {
    this.#directory = directory;
    this.#ports = ports;
  }

  /** Returns the setting `acme` of config.json for this authority. */
  get settings(): Record<string, unknown> {
    return {
      directory: `https://127.0.0.1:${this.#ports.acme}/dir`,
      caFile: join(this.#directory, 'ca.pem'),
      dnsServer: `127.0.0.1:${this.#ports.dns}`,
    };
  }

  /** Returns the number of orders so far. */
  get orders(): number {
    return this.#said.match(/POST \/order-plz -> calling handler/g)?.length ?? 0;
  }

  async up({ httpPort, validity = 7_776_000, env = {} }: PebbleOptions): Promise<void> {
    const path = (name: string) => join(this.#directory, name);
    await promisify(execFile)('openssl', [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
      ...['-subj', '/CN=pebble', '-addext', 'subjectAltName=IP:127.0.0.1'],
      ...['-keyout', path('key.pem'), '-out', path('ca.pem')],
    ]);
    const config = {
      listenAddress: `127.0.0.1:${this.#ports.acme}`,
      managementListenAddress: `127.0.0.1:${this.#ports.management}`,
      certificate: path('ca.pem'),
      privateKey: path('key.pem'),
      httpPort,
      tlsPort: 1,
      certificateValidityPeriod: validity,
    };
    await writeFile(path('pebble.json'), JSON.stringify({ pebble: config }));
    const dns = `127.0.0.1:${this.#ports.dns}`;
    this.#start('pebble-challtestsrv', [
      ...['-dns01', dns, '-management', `127.0.0.1:${this.#ports.dnsManagement}`, '-defaultIPv6', ''],
      ...['-http01', '', '-https01', '', '-tlsalpn01', ''],
    ]);
    const args = ['-config', path('pebble.json'), '-dnsserver', dns];
    // It refuses one nonce in twenty by default, so that clients learn to try again; orders could not be counted then.
    const fixed = { PEBBLE_VA_NOSLEEP: '1', PEBBLE_AUTHZREUSE: '0', PEBBLE_WFE_NONCEREJECT: '0' };
    this.#start('pebble', args, { ...fixed, ...env });
    await waitFor(() => this.#get('/dir', this.#ports.acme).catch(() => undefined), { what: 'pebble' });
    const answers = () => this.dns('set-default-ipv4', { ip: '127.0.0.1' }).catch(() => undefined);
    await waitFor(answers, { what: 'its DNS server' });
  }

  #start(program: string, args: string[], env: Record<string, string> = {}): void {
    const child = spawn(program, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#said += text;
      });
    }
    this.#children.push(child);
  }

  /** Changes what DNS says, such as `dns('set-servfail', { host })`. */
  async dns(call: string, body: object): Promise<true> {
    const url = `http://127.0.0.1:${this.#ports.dnsManagement}/${call}`;
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${call}: ${response.status}`);
    return true;
  }

  /** The certificate that those that it issues go back to. */
  root(): Promise<string> {
    return this.#get('/roots/0', this.#ports.management);
  }

  async #get(path: string, port: number): Promise<string> {
    const ca = await readFile(join(this.#directory, 'ca.pem'));
    return new Promise((resolve, reject) => {
      get({ host: '127.0.0.1', port, path, ca, agent: false }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => resolve(body));
      }).on('error', reject);
    });
  }

  async end(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
}
