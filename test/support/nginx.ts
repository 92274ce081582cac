import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type FSWatcher, watch } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Paths } from '../../src/config/paths.ts';
import type { Applied } from '../../src/edge/desired.ts';
import { Lock } from '../../src/system/concurrency/slots.ts';
import { listPids, parentOf } from '../../src/system/process/processes.ts';
import { freePort } from './free-port.ts';
import { removeDirectory } from './temporary.ts';
import { waitFor } from './wait.ts';

const program = fileURLToPath(new URL('../../src/edge/apply.ts', import.meta.url));

/** The real nginx with a configuration of its own on free ports, as a machine has it; gone after the test. */
export async function machineWithNginx(t: Pick<TestContext, 'after'>): Promise<NginxMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-nginx-'));
  // Its workers are another user where we are root.
  await chmod(directory, 0o755);
  const machine = new NginxMachine(directory, await freePort(), await freePort());
  t.after(async () => {
    await machine.end();
    await removeDirectory(directory);
  });
  await mkdir(join(directory, 'conf.d'));
  await writeFile(machine.mainConfig, mainConfig(directory, machine.http));
  await mkdir(machine.programs);
  for (const [name, script] of Object.entries(programs(directory))) {
    await writeFile(join(machine.programs, name), `#!/bin/sh\n${script}`, { mode: 0o755 });
  }
  return machine;
}

export class NginxMachine {
  readonly directory: string;
  readonly http: number;
  readonly https: number;
  #watcher: FSWatcher | undefined;
  #runs = new Lock();

  constructor(directory: string, http: number, https: number) {
    this.directory = directory;
    this.http = http;
    this.https = https;
  }

  get mainConfig(): string {
    return join(this.directory, 'nginx.conf');
  }
  /** our file in it */
  get config(): string {
    return join(this.directory, 'conf.d/sluice.conf');
  }
  /** where nginx looks for the API */
  get apiSocket(): string {
    return join(this.directory, 'api.sock');
  }
  /** the file of ours that comes after other sites, where this nginx reads it */
  get lastConfig(): string {
    return join(this.directory, 'sites-enabled/zzz-sluice.conf');
  }
  get certificates(): string {
    return join(this.directory, 'sluice');
  }
  /** directory of the programs that Sluice runs: nginx with our configuration, and systemctl for this nginx */
  get programs(): string {
    return join(this.directory, 'bin');
  }

  /** Does what `sluice-edge.path` does for a home: starts the part that is root whenever its wish changes. */
  async serve(home: string): Promise<void> {
    await chmod(home, 0o711);
    const { directory, desired } = new Paths(home).edge;
    await mkdir(directory, { recursive: true });
    this.#watcher = watch(directory, { persistent: false }, (_event, name) => {
      if (desired.endsWith(`/${name}`)) void this.#runs.run(() => this.apply(home));
    });
  }

  /** From here on nobody applies anything. */
  stopServing(): void {
    this.#watcher?.close();
  }

  /** The part that is root, once. @returns its exit status and what it said */
  async apply(
    home: string,
    options: string[] = [],
    path = `${this.programs}:${process.env['PATH']}`,
  ): Promise<{ code: number | null; stderr: string }> {
    const args = [
      ...['--home', home, '--nginx-directory', this.directory, '--api-socket', this.apiSocket],
      ...['--http', String(this.http), '--https', String(this.https)],
    ];
    const env = { ...process.env, PATH: path };
    const child: ChildProcess = spawn(process.execPath, [program, ...args, ...options], { env });
    const [stderr, [code]] = await Promise.all([
      text(child.stderr as NonNullable<ChildProcess['stderr']>),
      once(child, 'exit'),
    ]);
    return { code, stderr };
  }

  async outcome(home: string): Promise<Applied> {
    return JSON.parse(await readFile(new Paths(home).edge.applied, 'utf8')) as Applied;
  }

  nginx(...args: string[]) {
    return promisify(execFile)('nginx', ['-c', this.mainConfig, ...args]);
  }

  /** pid of its master; undefined where it does not run */
  async pid(): Promise<number | undefined> {
    const pid = Number(await readFile(join(this.directory, 'nginx.pid'), 'utf8').catch(() => ''));
    return pid > 0 ? pid : undefined;
  }

  /** pids of its workers, those too that are about to end */
  async workers(): Promise<number[]> {
    const master = await this.pid();
    const pids = master === undefined ? [] : await listPids();
    const parents = await Promise.all(pids.map(parentOf));
    return pids.filter((_, index) => parents[index] === master);
  }

  /** Ends it, with what it has in flight. */
  async stop(): Promise<void> {
    const pid = await this.pid();
    if (pid === undefined) return;
    process.kill(pid, 'SIGTERM');
    await waitFor(async () => (await this.pid()) === undefined, { what: 'the end of nginx' });
  }

  async end(): Promise<void> {
    this.stopServing();
    await this.#runs.run(() => this.stop());
  }
}

/** Returns a main configuration like Debian's, with another site on the shared port. */
function mainConfig(directory: string, http: number): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${directory}/${kind};`)
    .join('\n  ');
  return `
worker_processes 2;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 768; }
http {
  access_log ${directory}/access.log;
  ${temporary}
  gzip on;
  include ${directory}/conf.d/*.conf;
  server {
    listen ${http} default_server;
    server_name _;
    return 200 "the other site";
  }
}
`;
}

function programs(directory: string): Record<string, string> {
  const nginx = `PATH='${process.env['PATH']}' nginx -c '${directory}/nginx.conf'`;
  return {
    nginx: `exec env ${nginx} "$@"`,
    systemctl: `case $1 in
show) cat '${directory}/nginx.pid' 2> /dev/null || echo 0 ;;
reload-or-restart) ${nginx} -s reload 2> /dev/null || ${nginx} ;;
esac`,
  };
}
