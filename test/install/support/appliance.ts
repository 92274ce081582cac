import { join } from 'node:path';
import { writeTree } from '../../support/builds.ts';
import type { Files } from '../../support/pack.ts';
import { waitFor } from '../../support/wait.ts';
import type { CommandResult } from './command.ts';
import type { Guest } from './guest.ts';

interface AppStatus {
  state: string;
  url: string;
  port: number;
  release: number;
  workers: { pid: number }[];
}

/** Sluice on a guest, as an administrator uses it as root. */
export class Appliance {
  readonly guest: Guest;
  readonly #command: string;

  constructor(guest: Guest, command = 'sluice') {
    this.guest = guest;
    this.#command = command;
  }

  /** Runs `sluice`, given as one would type it. @returns what it printed @throws where it fails */
  async sluice(command: string): Promise<string> {
    return await this.guest.exec(`${this.#command} ${command}`, { timeout: 180_000 });
  }

  try(command: string): Promise<CommandResult> {
    return this.guest.try(`${this.#command} ${command}`, { timeout: 180_000 });
  }

  /** Deploys files as an app. */
  async deploy(app: string, files: Files): Promise<string> {
    await writeTree(join(this.guest.root, 'root/apps', app), files);
    return await this.sluice(`deploy /root/apps/${app} --app ${app}`);
  }

  async status(app: string): Promise<AppStatus> {
    return JSON.parse(await this.sluice(`status ${app} --json`));
  }

  /** Returns the answer of an app, asked from the guest. @throws Error if there is none */
  async answer(app: string): Promise<string> {
    return await this.ask((await this.status(app)).port);
  }

  /** Returns the answer of the program on a port of the guest. @param args more arguments of `curl` */
  async ask(port: number, ...args: string[]): Promise<string> {
    const words = args.map((arg) => `'${arg.replaceAll("'", "'\\''")}'`);
    return await this.guest.exec(`curl -sS --max-time 30 ${words.join(' ')} http://127.0.0.1:${port}/`);
  }

  async answers(port: number): Promise<void> {
    const asked = () => this.guest.try(`curl -sS --max-time 5 http://127.0.0.1:${port}/`);
    await waitFor(async () => (await asked()).code === 0, {
      timeout: 30_000,
      interval: 100,
      what: `an answer at port ${port}`,
    });
  }
}
