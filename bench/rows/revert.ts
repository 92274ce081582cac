import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { temporaryDirectory } from '../../test/support/temporary.ts';
import { startAppliance } from '../appliance.ts';
import { LoadProcess } from '../load/process.ts';
import type { Measurement, Scope, Side } from '../measurement.ts';

const load = { connections: 16, rate: 100 };

/** Longest time to wait for the earlier release, in ms. */
const patience = 45_000;

/** Handlers of bad releases; `fault()` records the time of the first fault. */
const faults = {
  throws: {
    title: 'throws an error for one of three requests',
    handler: `let count = 0;
module.exports = (response) => {
  count += 1;
  if (count % 3 !== 0) return response.end('new');
  fault();
  response.writeHead(500).end('failed');
};`,
  },
  dies: {
    title: 'dies after 5 s',
    handler: `setTimeout(() => {
  fault();
  throw new Error('no connection to the database');
}, 5000);
module.exports = (response) => response.end('new');`,
  },
  blocks: {
    title: 'blocks its event loop',
    handler: `setTimeout(() => {
  fault();
  for (;;);
}, 3000);
module.exports = (response) => response.end('new');`,
  },
};

type Fault = keyof typeof faults;

/** Time from the first fault of a release until the release before is live again, without a command. */
export const revertMeasurement: Measurement = {
  name: 'revert',
  rounds: 5,
  quickRounds: 0,
  rows: Object.entries(faults).map(([name, { title }]) => ({
    title: `a release that ${title}: from the fault until the earlier release is live again`,
    short: `a release that ${title}: until the earlier release is live again, without a command`,
    unit: 's',
    ours: name,
    goal: { figure: 5 },
  })),
  async prepare(scope) {
    return (Object.keys(faults) as Fault[]).map((fault) => sideOf(fault, scope));
  },
};

/** Each fault has an app of its own, and each round deploys a good release before the bad one. */
function sideOf(fault: Fault, scope: Scope): Side {
  let app: App | undefined;
  return async () => {
    app ??= await App.create(scope, fault);
    return { [fault]: await app.secondsToRevert() };
  };
}

class App {
  readonly #sluice: Awaited<ReturnType<typeof startAppliance>>;
  readonly #generator: LoadProcess;
  readonly #fault: Fault;
  readonly #directory: string;
  #round = 0;

  private constructor(parts: {
    sluice: Awaited<ReturnType<typeof startAppliance>>;
    generator: LoadProcess;
    fault: Fault;
    directory: string;
  }) {
    this.#sluice = parts.sluice;
    this.#generator = parts.generator;
    this.#fault = parts.fault;
    this.#directory = parts.directory;
  }

  static async create(scope: Scope, fault: Fault): Promise<App> {
    return new App({
      ...{ fault, sluice: await startAppliance(scope), generator: LoadProcess.start(scope) },
      directory: await temporaryDirectory(scope),
    });
  }

  async secondsToRevert(): Promise<number> {
    this.#round += 1;
    const record = join(this.#directory, `fault-${this.#round}`);
    const good = await this.#deploy("module.exports = (response) => response.end('old');", record);
    await this.#generator.start({ ...load, port: (await this.#sluice.status('shop')).port });
    try {
      await this.#deploy(faults[this.#fault].handler, record);
      const revertedAt = await this.#untilLive(good);
      return (revertedAt - Number((await readFile(record, 'utf8')).split('\n')[0])) / 1000;
    } finally {
      await this.#generator.stop();
    }
  }

  /** @returns number of the release */
  async #deploy(handler: string, record: string): Promise<number> {
    const release = await this.#sluice.deploy('shop', {
      'server.js': `const handle = require('./handler.js');
require('node:http').createServer((request, response) => handle(response)).listen(process.env.PORT);
`,
      'handler.js': `const { appendFileSync } = require('node:fs');
const fault = () => appendFileSync(${JSON.stringify(record)}, Date.now() + '\\n');
${handler}
`,
      'sluice.json': { workers: 2 },
    });
    return release.number;
  }

  /** @returns time in ms since the epoch. @throws Error if the release is not live in time */
  async #untilLive(release: number): Promise<number> {
    const end = Date.now() + patience;
    while (Date.now() < end) {
      if ((await this.#sluice.status('shop')).release === release) return Date.now();
      await pause(50);
    }
    throw new Error(`a release that ${faults[this.#fault].title} is still live after ${patience / 1000} s`);
  }
}
