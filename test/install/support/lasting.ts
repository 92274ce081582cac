import { cp, mkdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { waitFor } from '../../support/wait.ts';
import type { Appliance } from './appliance.ts';

const app = resolve(import.meta.dirname, '../../fixtures/apps/lasting.cjs');
const program = '/root/load/lasting-program.ts';

/** A request, an upload and a WebSocket at an app of its own with one worker, all under way until `finish`. */
export class Lasting {
  readonly #appliance: Appliance;
  readonly #file: string;
  readonly #answers: Promise<string>;

  private constructor(appliance: Appliance, file: string, answers: Promise<string>) {
    this.#appliance = appliance;
    this.#file = file;
    this.#answers = answers;
    // A failure counts in `finish`.
    answers.catch(() => {});
  }

  /** @param name of the app, which is deployed */
  static async begin(appliance: Appliance, name: string): Promise<Lasting> {
    const { guest } = appliance;
    await appliance.deploy(name, {
      'server.js': await readFile(app, 'utf8'),
      'sluice.json': { workers: 1, drainTimeout: '15m' },
    });
    const { port } = await appliance.status(name);
    await mkdir(join(guest.root, 'root/load'), { recursive: true });
    await cp(join(import.meta.dirname, 'lasting-program.ts'), join(guest.root, program));
    const file = `/var/lib/sluice/apps/${name}/production/tmp/end`;
    const node = '/opt/sluice/current/runtime/bin/node';
    const answers = guest.exec(`${node} ${program} ${port} ${file}`, { timeout: 600_000 });
    const begun = () =>
      guest.read(`${file}.begun`).then(
        () => true,
        () => false,
      );
    await waitFor(begun, { what: 'a request in flight' });
    return new Lasting(appliance, file, answers);
  }

  /** Lets all end. @returns their answers */
  async finish(): Promise<string[]> {
    await this.#appliance.guest.write(this.#file, '');
    return JSON.parse(await this.#answers);
  }
}
