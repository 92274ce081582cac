import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from '../test/support/free-port.ts';
import { Checkout } from '../test/support/git.ts';
import { fetchText } from '../test/support/http.ts';
import type { Files } from '../test/support/pack.ts';
import type { Sluice } from '../test/support/server.ts';
import { temporaryDirectory } from '../test/support/temporary.ts';
import { waitFor } from '../test/support/wait.ts';
import { startAppliance } from './appliance.ts';
import type { Scope } from './measurement.ts';
import { Pm2 } from './pm2.ts';

const run = promisify(execFile);

/** App of the benchmark that has packages. */
interface ProjectOptions {
  files: Files;
  /** smallest number of packages that its lockfile may have */
  packages: number;
  /** true if a deploy runs `npm run build` */
  hasBuild: boolean;
}

/** Repository of a developer, and two servers with its app: one with Sluice, and one with a clone and PM2. */
export class Project {
  readonly sluice: Sluice;
  readonly #hasBuild: boolean;
  readonly #checkout: Checkout;
  readonly #origin: string;
  readonly #clone: string;
  readonly #pm2: Pm2;
  readonly #port: number;
  #version = 0;

  private constructor(parts: {
    sluice: Sluice;
    hasBuild: boolean;
    checkout: Checkout;
    directory: string;
    pm2: Pm2;
    port: number;
  }) {
    this.sluice = parts.sluice;
    this.#hasBuild = parts.hasBuild;
    this.#checkout = parts.checkout;
    this.#origin = join(parts.directory, 'origin.git');
    this.#clone = join(parts.directory, 'clone');
    this.#pm2 = parts.pm2;
    this.#port = parts.port;
  }

  /** Deploys the app on both servers, so that their caches are filled. */
  static async create(scope: Scope, { files, packages, hasBuild }: ProjectOptions): Promise<Project> {
    const checkout = await Checkout.create(scope);
    await checkout.write({ ...files, '.gitignore': 'node_modules\ndist\n' });
    // With URLs, as npm writes them by default: without them, each `npm ci` asks the registry for each package.
    const urls = '--no-omit-lockfile-registry-resolved';
    await npm(['install', '--package-lock-only', '--ignore-scripts', urls], checkout.directory);
    const lockfile = await import(join(checkout.directory, 'package-lock.json'), { with: { type: 'json' } });
    const count = Object.keys(lockfile.default.packages).length - 1;
    if (count < packages) throw new Error(`the app has ${count} packages instead of ${packages}`);
    const project = new Project({
      ...{ checkout, hasBuild, sluice: await startAppliance(scope), port: await freePort() },
      ...{ directory: await temporaryDirectory(scope), pm2: await Pm2.create(scope) },
    });
    await project.#start();
    return project;
  }

  async #start(): Promise<void> {
    await this.#checkout.git('init', '--quiet', '--bare', '--initial-branch=main', this.#origin);
    await this.changeCode();
    await this.push();
    await this.#checkout.git('clone', '--quiet', this.#origin, this.#clone);
    await npm(['ci'], this.#clone);
    if (this.#hasBuild) await npm(['run', 'build'], this.#clone);
    const env = { PORT: String(this.#port), NODE_ENV: 'production' };
    await this.#pm2.start({ script: join(this.#clone, 'server.js'), directory: this.#clone, env });
    await waitFor(async () => (await this.pm2Version()) === this.#version, { what: 'the app in PM2' });
  }

  /** Commits a change of the code, and publishes it for the server with PM2. @returns the new version */
  async changeCode(): Promise<number> {
    this.#version += 1;
    await this.#checkout.commit(`Version ${this.#version}`, {
      'version.js': `export default ${this.#version};\n`,
    });
    await this.#checkout.git('push', '--quiet', this.#origin, 'main');
    return this.#version;
  }

  /** Pushes to Sluice; ends when the release is live. */
  async push(): Promise<void> {
    await this.#checkout.git('push', '--quiet', this.sluice.gitUrl('shop'), 'main');
  }

  /** Deploys the newest commit as is usual with PM2. */
  async pull(): Promise<void> {
    await run('git', ['pull', '--quiet'], { cwd: this.#clone });
    await this.#install();
  }

  /** Deploys an earlier commit as is usual with PM2. */
  async checkOut(commit: string): Promise<void> {
    await run('git', ['checkout', '--quiet', commit], { cwd: this.#clone });
    await this.#install();
  }

  async #install(): Promise<void> {
    await npm(['ci'], this.#clone);
    if (this.#hasBuild) await npm(['run', 'build'], this.#clone);
    await this.#pm2.reload();
  }

  /** Returns the version that answers. */
  async sluiceVersion(): Promise<number> {
    return Number((await fetchText((await this.sluice.status('shop')).port)).body);
  }

  /** Returns the version that answers; undefined if none does. */
  async pm2Version(): Promise<number | undefined> {
    return fetchText(this.#port).then(
      ({ body }) => Number(body),
      () => undefined,
    );
  }
}

/** Runs npm on the Node.js of the benchmark. */
async function npm(args: string[], cwd: string): Promise<void> {
  const PATH = `${join(process.execPath, '..')}:${process.env['PATH']}`;
  const { SLUICE_HOME: _, ...env } = process.env;
  const quietly = ['--no-audit', '--no-fund'];
  await run('npm', [...args, ...quietly], { cwd, env: { ...env, PATH }, maxBuffer: 64 * 1024 ** 2 });
}
