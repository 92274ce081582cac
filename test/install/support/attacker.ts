import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { waitFor } from '../../support/wait.ts';
import type { Appliance } from './appliance.ts';

const program = resolve(import.meta.dirname, '../../fixtures/apps/traps.cjs');
const directory = '/var/lib/sluice/apps/evil/production';
const user = 'sluice_evil';

interface Report {
  caught: string[];
  rounds: number;
  uid: number;
}

/** An app that lays traps for all other users of a guest, wherever it can write: see test/fixtures/apps/traps.cjs. */
export class Attacker {
  readonly #appliance: Appliance;
  readonly #port: number;

  private constructor(appliance: Appliance, port: number) {
    this.#appliance = appliance;
    this.#port = port;
  }

  /** Deploys the app and waits until its traps are laid. Proves with a process of its own user that a trap works. */
  static async start(appliance: Appliance): Promise<Attacker> {
    const settings = { workers: 1, shared: ['data'], settleTime: 100 };
    await appliance.deploy('evil', { 'server.js': await readFile(program, 'utf8'), 'sluice.json': settings });
    const attacker = new Attacker(appliance, (await appliance.status('evil')).port);
    await waitFor(async () => (await attacker.#report()).rounds > 1, { what: 'the traps', timeout: 30_000 });
    await appliance.guest.exec(`curl -sS http://127.0.0.1:${attacker.#port}/prove`);
    const proof = async () => {
      const { caught, uid } = await attacker.#report();
      return caught.includes(`uid ${uid} by compile-cache`);
    };
    await waitFor(proof, { what: 'the proof that the forged compile cache works', timeout: 30_000 });
    return attacker;
  }

  /** The directory of its release, which an administrator may happen to work in. */
  readonly release = `${directory}/current`;

  /** @throws AssertionError if a process of another user ran its code, wrote into its directories or gave it a secret */
  async assertCaughtNobody(): Promise<void> {
    const answers = async () => this.#report().catch(() => undefined);
    const { rounds } = await waitFor(answers, { what: 'the attacker', timeout: 30_000 });
    await waitFor(async () => (await this.#report()).rounds > rounds + 1, {
      what: 'one more look',
      timeout: 30_000,
    });
    const { caught, uid } = await this.#report();
    assert.deepEqual(
      caught.filter((what) => !what.startsWith(`uid ${uid} by `)),
      [],
    );
    const foreign = await this.#appliance.guest.exec(`
      find /tmp /var/tmp /dev/shm /run/lock ${directory}/home ${directory}/tmp ${directory}/shared -mindepth 1 \\
        ! -user ${user} -printf '%h %f %u\\n' |
        while read -r parent name user; do
          [ "$(stat -c %U "$parent")" != ${user} ] || echo "$user made $parent/$name"
        done
    `);
    assert.equal(foreign, '');
  }

  async #report(): Promise<Report> {
    return JSON.parse(await this.#appliance.ask(this.#port));
  }
}
