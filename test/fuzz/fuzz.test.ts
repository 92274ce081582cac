import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../src/errors/app-error.ts';
import { Inspector } from '../soak/inspector.ts';
import { readTaken, type Taken } from '../soak/process.ts';
import { apiRoutes } from '../support/api-routes.ts';
import { answering } from '../support/apps.ts';
import { machineWithNginx } from '../support/nginx.ts';
import { pack } from '../support/pack.ts';
import { Random } from '../support/random.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { carryOut, connected, type Plan, planClient } from './client.ts';
import { hostileRequest, known, type Material, sshRoute } from './request.ts';

/** Time of the attack, in seconds, and the seed of the random numbers. */
const seconds = Number(process.env['SLUICE_FUZZ_SECONDS'] ?? 60);
const seed = Number(process.env['SLUICE_FUZZ_SEED'] ?? 1);

/** Number of clients at a time. */
const clients = 12;

/**
 * Limits the growth of the server's heap after a third of the time, in bytes: 4 MB once for late modules and compiled code
 * (measured), and for each client far less than a request takes while it is served.
 */
const maxGrowth = { whole: 8 * 1024 ** 2, perClient: 500 };

const relay = fileURLToPath(new URL('../../src/relay/ssh.cjs', import.meta.url));
const host = 'deploy.example.com';
const ways = ['tcp', 'tcp', 'tcp', 'unix', 'unix', 'ssh', 'ssh', 'nginx', 'nginx'] as const;
type Way = (typeof ways)[number];

test(`the server survives all bytes and all disconnects (SLUICE_FUZZ_SEED=${seed})`, {
  timeout: (seconds + 240) * 1000,
}, async (t) => {
  const fuzz = await Fuzz.start(t);
  // Requests that have ended a server before are sent by each way, with any seed.
  for (const way of new Set(ways)) {
    for (const bytes of known) await fuzz.run(way, { writes: [{ bytes, pause: 50 }], ending: 'none' });
  }
  await fuzz.attack(seconds / 3);
  const before = await fuzz.settled();
  const first = fuzz.count;
  await fuzz.attack((seconds * 2) / 3);
  const after = await fuzz.settled();
  t.diagnostic(`seed ${seed}: ${fuzz.count} clients, ${fuzz.answered} answered`);
  t.diagnostic(`live heap: ${before.live}, then ${after.live} bytes`);
  assert.ok(fuzz.answered > 100, 'the server has answered too few requests to prove anything');
  const limit = before.live + maxGrowth.whole + (fuzz.count - first) * maxGrowth.perClient;
  assert.ok(after.live < limit, `the heap has grown from ${before.live} to ${after.live}`);
});

/** A server and its hostile clients. */
class Fuzz {
  readonly #sluice: Sluice;
  readonly #nginx: number;
  readonly #material: Material;
  /** resources that the idle server takes */
  readonly #idle: Taken;
  /** the last clients, for debugging */
  readonly #last: string[] = [];
  #ended: string | undefined;
  count = 0;
  answered = 0;

  private constructor(sluice: Sluice, nginx: number, material: Material, idle: Taken) {
    this.#sluice = sluice;
    this.#nginx = nginx;
    this.#material = material;
    this.#idle = idle;
    void sluice.ended().then((code) => {
      this.#ended = `the server has ended with ${code}`;
    });
  }

  static async start(t: TestContext): Promise<Fuzz> {
    const machine = await machineWithNginx(t);
    const sluice = await startSluice(t, { env: { NODE_OPTIONS: '--inspect=0 --inspect-publish-uid=http' } });
    await machine.serve(sluice.home);
    await sluice.call('POST', '/v1/domains', { name: host, certificate: 'self-signed' });
    await sluice.deploy('shop', answering('shop'));
    await sluice.call('POST', '/v1/keys', { name: 'fuzz', key: publicKey(new Random(seed)) });
    const material: Material = {
      routes: await apiRoutes(),
      token: sluice.token,
      key: 'fuzz',
      host,
      archive: await pack(answering('shop')),
    };
    return new Fuzz(sluice, machine.https, material, await readTaken(sluice.pid));
  }

  /** Runs hostile clients for some seconds. */
  async attack(seconds: number): Promise<void> {
    const end = performance.now() + seconds * 1000;
    const worker = async () => {
      while (performance.now() < end && this.#ended === undefined) {
        // Each client has random numbers of its own, so that its requests do not depend on earlier clients.
        const random = new Random(seed + this.count);
        const { routes } = this.#material;
        const route = routes[this.count % routes.length] ?? sshRoute;
        const round = Math.floor(this.count / routes.length);
        this.count += 1;
        const way = random.pick(ways);
        if (way === 'ssh' && random.once(10)) await this.#runRelay(random);
        else {
          const asked = way === 'ssh' && !random.once(10) ? sshRoute : route;
          await this.run(way, planClient(random, hostileRequest(random, this.#material, asked), round));
        }
      }
    };
    await Promise.all(Array.from({ length: clients }, worker));
  }

  async run(way: Way, plan: Plan): Promise<void> {
    this.#remember(way, plan);
    const { raw, socket } = await this.#open(way);
    if (socket === undefined) return;
    const answer = (await carryOut(plan, socket, raw)).toString('latin1');
    if (answer !== '') this.answered += 1;
    const failed = /^HTTP\/1\.1 500|"code":"internal"|failed: internal/m.test(answer);
    if (this.#ended === undefined && !failed) return;
    assert.fail(this.#explain(this.#ended ?? `${answer.slice(0, 1000)}\nto ${shown(way, plan, 3000)}`));
  }

  async #open(way: Way): Promise<{ raw: Socket; socket: Socket | undefined }> {
    const { serverSocket, sshSocket } = this.#sluice.paths;
    const allowHalfOpen = true;
    const tcp = (port: number) => connect({ port, host: '127.0.0.1', allowHalfOpen });
    const raw = {
      tcp: () => tcp(Number(new URL(this.#sluice.url).port)),
      unix: () => connect({ path: serverSocket, allowHalfOpen }),
      ssh: () => connect({ path: sshSocket, allowHalfOpen }),
      nginx: () => tcp(this.#nginx),
    }[way]();
    if (!(await connected(raw))) return { raw, socket: undefined };
    if (way !== 'nginx') return { raw, socket: raw };
    const secure = connectTls({ socket: raw, servername: host, rejectUnauthorized: false });
    return { raw, socket: (await connected(secure, 'secureConnect')) ? secure : undefined };
  }

  /** Starts the relay as sshd does, and ends it as a pusher may. */
  async #runRelay(random: Random): Promise<void> {
    const request = hostileRequest(random, this.#material, sshRoute);
    const command = decodeURIComponent(`git-${random.pick(['receive', 'upload'])}-pack%20'shop'`);
    const child = spawn(process.execPath, [relay, this.#sluice.paths.sshSocket, 'fuzz'], {
      env: { SSH_ORIGINAL_COMMAND: command },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const exited = once(child, 'exit');
    child.stdin.on('error', () => undefined);
    for (const part of request.slice(1)) child.stdin.write(part);
    await Promise.race([sleep(random.below(400)), exited]);
    if (random.once(2)) child.stdin.end();
    else child.kill('SIGKILL');
    await Promise.race([sleep(500), exited]);
    child.kill('SIGKILL');
    await exited;
  }

  /**
   * Waits until all work of the clients is over and nothing of it is left.
   * @returns resources that the server takes then
   */
  async settled(): Promise<{ live: number }> {
    assert.equal(this.#ended, undefined, this.#explain(String(this.#ended)));
    const { pid, paths } = this.#sluice;
    const staged = () => inStaging(paths.apps);
    await waitFor(async () => (await staged()).length === 0, { what: 'an empty staging' }).catch(
      async (error) => assert.fail(`${error.message}: ${await staged()}`),
    );
    await waitFor(async () => (await readTaken(pid)).children <= this.#idle.children, {
      what: 'the end of all children',
    });
    const status = await waitFor(() => this.#status(), { what: 'a runner that answers' });
    assert.equal(status.server.pid, pid);
    const open = async () => {
      const { descriptors } = await readTaken(pid);
      return Object.entries(descriptors).filter(
        ([kind, count]) => count > (this.#idle.descriptors[kind] ?? 0),
      );
    };
    await waitFor(async () => (await open()).length === 0, { what: 'descriptors as before' }).catch(
      async (error) =>
        assert.fail(`${error.message}: ${JSON.stringify([this.#idle.descriptors, await open()])}`),
    );
    const faults = (await this.#sluice.log()).filter(({ level }) => level === 'error');
    assert.ok(faults.length === 0, this.#explain(`${JSON.stringify(faults, null, 2).slice(0, 5000)}`));
    using inspector = await Inspector.attach(pid);
    return await inspector.held();
  }

  /** Returns the status; undefined if the runner has not answered in time, since other tests use the CPU, too. */
  async #status(): Promise<{ server: { pid: number } } | undefined> {
    return this.#sluice.call<{ server: { pid: number } }>('GET', '/v1/status').catch((error) => {
      if (error instanceof AppError && error.code === 'runner_unavailable') return undefined;
      throw error;
    });
  }

  #remember(way: Way, plan: Plan): void {
    this.#last.push(shown(way, plan, 300));
    if (this.#last.length > 2 * clients) this.#last.shift();
  }

  #explain(fault: string): string {
    return `SLUICE_FUZZ_SEED=${seed}: ${fault}\nThe last clients:\n${this.#last.join('\n')}`;
  }
}

function shown(way: Way, { writes, ending }: Plan, length: number): string {
  const sent = writes.map(({ bytes, pause }) => [bytes.toString('latin1', 0, length), pause]);
  return JSON.stringify({ way, ending, sent }).slice(0, length);
}

/** Lists the releases in staging, of all apps. An environment may have the name `staging`, too. */
async function inStaging(apps: string): Promise<string[]> {
  const entries = await readdir(apps, { recursive: true }).catch(() => []);
  return entries
    .filter((path) => /^[^/]+\/[^/]+\/staging\/[^/]+$/.test(path))
    .map((path) => join(apps, path));
}

/** Returns a public key without a known private key: its type and 32 bytes, each after its length. */
function publicKey(random: Random): string {
  const word = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
  const type = 'ssh-ed25519';
  return `${type} ${Buffer.concat([word(Buffer.from(type)), word(random.bytes(32))]).toString('base64')}`;
}
