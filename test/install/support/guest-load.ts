import { cp, mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Guest } from './guest.ts';

interface GuestLoadReport {
  answered: number;
  /** the first of them */
  errors: string[];
  /** the longest that a request took, in ms */
  slowest: number;
}

const tests = resolve(import.meta.dirname, '../..');
let count = 0;

/** Clients on the guest itself, which keep an app of `test/fixtures/apps/plain.cjs` busy. */
export class GuestLoad {
  readonly #guest: Guest;
  readonly #end: string;
  readonly #report: Promise<string>;

  private constructor(guest: Guest, end: string, report: Promise<string>) {
    this.#guest = guest;
    this.#end = end;
    this.#report = report;
    // It is looked at in stop().
    report.catch(() => {});
  }

  static async start(guest: Guest, port: number, clients = 8): Promise<GuestLoad> {
    const end = `/root/load/end-${++count}`;
    for (const file of ['support/load.ts', 'install/support/load-program.ts']) {
      await mkdir(join(guest.root, 'root/load', file, '..'), { recursive: true });
      await cp(join(tests, file), join(guest.root, 'root/load', file));
    }
    const node = '/opt/sluice/current/runtime/bin/node';
    const program = `/root/load/install/support/load-program.ts ${port} ${clients} ${end}`;
    return new GuestLoad(guest, end, guest.exec(`${node} ${program}`, { timeout: 600_000 }));
  }

  async stop(): Promise<GuestLoadReport> {
    await this.#guest.write(this.#end, '');
    return JSON.parse(await this.#report);
  }
}
