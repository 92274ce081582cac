import { systemCode } from '../errors/app-error.ts';
import { listPids, parentOf, titleOf } from '../system/process/processes.ts';
import { ProgramFailed, run } from '../system/process/run.ts';
import { outputOf } from '../system/process/systemd.ts';

export class NginxError extends Error {
  readonly hint: string;

  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

/** Returns a version such as `1.22.1`. @throws NginxError without nginx */
export async function nginxVersion(): Promise<string> {
  const { output } = await runProgram('nginx', ['-v']);
  const text = /nginx\/(\d+\.\d+\.\d+)/.exec(output)?.[1];
  if (text === undefined) throw new NginxError(`nginx does not report its version, but: ${output}`, '');
  return text;
}

/** Checks the whole configuration, `-t`, or also returns it, `-T`. @throws NginxError with nginx's own words */
export async function checkConfig(option: '-t' | '-T'): Promise<string> {
  const { status, output, stdout } = await runProgram('nginx', [option]);
  if (status === 0) return stdout;
  throw new NginxError(
    `nginx refuses its configuration: ${output}`,
    /server_names_hash_bucket_size/.test(output)
      ? 'The name is too long for this nginx: put `server_names_hash_bucket_size 128;` into the `http` block of /etc/nginx/nginx.conf.'
      : 'If the fault is in another file than that of Sluice, correct that file; `nginx -t` shows the fault. nginx still serves its previous configuration.',
  );
}

/** Loads the configuration, and starts nginx if it does not run. @throws NginxError */
export async function loadConfig(): Promise<void> {
  const { status, output } = await runProgram('systemctl', ['reload-or-restart', 'nginx.service']);
  if (status === 0) return;
  throw new NginxError(`nginx could not be started: ${output}`, 'See `journalctl -u nginx` for details.');
}

/** @returns the pid of the master process; undefined if nginx does not run */
export async function masterPid(): Promise<number | undefined> {
  const show = ['show', '--property=MainPID', '--value', 'nginx.service'];
  const pid = Number((await runProgram('systemctl', show)).output);
  return pid > 0 ? pid : undefined;
}

/**
 * Remembers the current workers before a reload. For some 100 ms after it, both they and their successors accept
 * connections.
 * @returns a function that returns true once none of them accepts connections
 */
export async function rememberWorkers(): Promise<() => Promise<boolean>> {
  const master = await masterPid();
  if (master === undefined) return async () => true;
  const before = await acceptingWorkers(master);
  return async () => before.isDisjointFrom(await acceptingWorkers(master));
}

async function runProgram(program: string, args: string[]) {
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
    const args = ['--no-header', '--listening', '--tcp', '--numeric', '--processes', `sport = :${port}`];
    // Our unit may not inspect processes of others, so `ss` runs outside of it.
    const outside = ['--quiet', '--no-ask-password', '--wait', '--pipe', '--collect', 'ss', ...args];
    const listed = (await outputOf('systemd-run', outside)) ?? (await outputOf('ss', args)) ?? '';
    const holders = [...listed.matchAll(/\("([^"]*)",pid=(\d+)/g)];
    const [, name, pid] = holders.find(([, program]) => program !== 'nginx') ?? [];
    if (name === undefined) continue;
    return new NginxError(
      `port ${port}, which nginx needs, is in use by ${name} (process ${pid})`,
      `Stop ${name} or move it to another port, then add the domain again.`,
    );
  }
  return undefined;
}
