import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listListeners } from '../system/net/listeners.ts';
import { listPids, parentOf, processName, titleOf } from '../system/process/processes.ts';
import { ProgramFailed, run } from '../system/process/run.ts';
import { outputOf } from '../system/process/systemd.ts';

export class NginxError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** The nginx of this machine. */
export class Nginx {
  readonly #program: string;
  readonly #args: string[];
  readonly #pidFile: string | undefined;

  /**
   * @param args arguments before all others, such as `-c PATH`
   * @param pidFile file with the pid of an nginx that systemd does not run
   */
  constructor(program: string, args: string[], pidFile?: string) {
    this.#program = program;
    this.#args = args;
    this.#pidFile = pidFile;
  }

  /** Returns a version such as `1.22.1`. @throws NginxError without nginx */
  async version(): Promise<string> {
    const { output } = await this.#run(this.#program, ['-v']);
    const text = /nginx\/(\d+\.\d+\.\d+)/.exec(output)?.[1];
    if (text === undefined) throw new NginxError(`nginx does not report its version, but: ${output}`, '');
    return text;
  }

  /** Checks the whole configuration, `-t`, or also returns it, `-T`. @throws NginxError with nginx's own words */
  async check(option: '-t' | '-T'): Promise<string> {
    const { status, output, stdout } = await this.#run(this.#program, [...this.#args, option]);
    if (status === 0) return stdout;
    throw new NginxError(
      `nginx refuses its configuration: ${output}`,
      /server_names_hash_bucket_size/.test(output)
        ? 'The name is too long for this nginx: put `server_names_hash_bucket_size 128;` into the `http` block of /etc/nginx/nginx.conf.'
        : 'If the fault is in another file than that of Sluice, correct that file; `nginx -t` shows the fault. nginx still serves its previous configuration.',
    );
  }

  /** Loads the configuration, and starts nginx if it does not run. @throws NginxError */
  async load(): Promise<void> {
    if (this.#pidFile === undefined)
      return this.#mustRun('systemctl', ['reload-or-restart', 'nginx.service'], '`journalctl -u nginx`');
    const { status } = await this.#run(this.#program, [...this.#args, '-s', 'reload']);
    if (status !== 0) await this.#mustRun(this.#program, this.#args, 'the error log of nginx');
  }

  /** @returns the pid of the master process; undefined if nginx does not run */
  async master(): Promise<number | undefined> {
    const show = ['show', '--property=MainPID', '--value', 'nginx.service'];
    const text =
      this.#pidFile === undefined
        ? (await this.#run('systemctl', show)).output
        : await ifThere(readFile(this.#pidFile, 'utf8'));
    const pid = Number(text);
    return pid > 0 ? pid : undefined;
  }

  /**
   * Remembers the current workers before a reload. For some 100 ms after it, both they and their successors accept
   * connections.
   * @returns a function that returns true once none of them accepts connections
   */
  async rememberWorkers(): Promise<() => Promise<boolean>> {
    const master = await this.master();
    if (master === undefined) return async () => true;
    const before = await acceptingWorkers(master);
    return async () => before.isDisjointFrom(await acceptingWorkers(master));
  }

  async #mustRun(program: string, args: string[], log: string): Promise<void> {
    const { status, output } = await this.#run(program, args);
    if (status !== 0)
      throw new NginxError(`nginx could not be started: ${output}`, `See ${log} for details.`);
  }

  async #run(program: string, args: string[]) {
    try {
      const { stdout, stderr } = await run(program, args, { timeout: 30_000 });
      return { status: 0, output: tidy(stderr + stdout), stdout };
    } catch (error) {
      if (systemCode(error) === 'ENOENT') throw missing(program);
      if (!(error instanceof ProgramFailed)) throw error;
      const { code, stdout, stderr, message } = error;
      return { status: code ?? 1, output: tidy(stderr + stdout) || message, stdout };
    }
  }
}

function missing(program: string): NginxError {
  return program === 'systemctl'
    ? new NginxError('systemctl is missing, so nginx cannot be reloaded', 'Domains need systemd.')
    : new NginxError(
        'nginx is not installed',
        'On the server: `apt-get install nginx`, then add the domain again.',
      );
}

/** Returns the distinct lines of nginx's output without their prefixes, cut off after 2000 characters. */
function tidy(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.replace(prefix, '').trim())
    .filter((line) => line !== '' && !verdict.test(line));
  return [...new Set(lines)].join('; ').slice(0, 2000);
}

const prefix = /^(?:nginx: |\d{4}\/\d\d\/\d\d [\d:]{8} )(?:\[\w+\] )?(?:\d+#\d+: )?/;
const verdict = /^(?:the )?configuration file \S+ (?:syntax is ok|test failed|test is successful)$/;

/**
 * Lists the workers that accept connections. A worker changes its title and closes its listeners in one turn of its event
 * loop: with that title it accepts no connection, and finishes its requests (source: nginx's ngx_worker_process_cycle).
 */
async function acceptingWorkers(master: number): Promise<Set<number>> {
  const workers = new Set<number>();
  for (const pid of await listPids()) {
    if (parentOf(pid) !== master) continue;
    const title = titleOf(pid) ?? '';
    if (title.startsWith('nginx: worker process') && !title.includes('shutting down')) workers.add(pid);
  }
  return workers;
}

/** Returns an error that names another program with one of these ports; undefined if no other program has one. */
export async function findPortConflict(ports: readonly number[]): Promise<NginxError | undefined> {
  for (const port of ports) {
    const other = (await findHolders(port)).find(({ name }) => name !== 'nginx');
    if (other === undefined) continue;
    return new NginxError(
      `port ${port}, which nginx needs, is in use by ${other.name} (process ${other.pid})`,
      `Stop ${other.name} or move it to another port, then add the domain again.`,
    );
  }
  return undefined;
}

async function findHolders(port: number): Promise<{ name: string; pid: number }[]> {
  const listeners = (await listListeners())?.filter((each) => each.port === port) ?? [];
  const pids = listeners.flatMap((each) => each.pids);
  if (listeners.length === 0 || pids.length > 0)
    return pids.map((pid) => ({ name: processName(pid) ?? 'a process', pid }));
  // Our unit may not inspect processes of others, so `ss` runs outside of it.
  const ss = ['ss', '--no-header', '--listening', '--tcp', '--numeric', '--processes', `sport = :${port}`];
  const listed = (await outputOf('systemd-run', ['--quiet', '--wait', '--pipe', '--collect', ...ss])) ?? '';
  return [...listed.matchAll(/\("([^"]*)",pid=(\d+)/g)].map(([, name = '', pid]) => ({
    name,
    pid: Number(pid),
  }));
}
