import { readFile } from 'node:fs/promises';
import { systemCode } from '../errors/app-error.ts';
import { ifThere } from '../system/fs/exists.ts';
import { run } from '../system/process/run.ts';

/** Size limit of nginx's whole configuration, in bytes. */
const largestDump = 64 * 1024 ** 2;

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
   * @param args before all others, such as `-c PATH` for one that is not the machine's own
   * @param pidFile where one that systemd does not run says its pid
   */
  constructor(program: string, args: string[], pidFile?: string) {
    this.#program = program;
    this.#args = args;
    this.#pidFile = pidFile;
  }

  /** Such as [1, 22, 1]. @throws NginxError where there is none */
  async version(): Promise<number[]> {
    const { output } = await this.#run(this.#program, ['-v']);
    const text = /nginx\/(\d+(?:\.\d+)*)/.exec(output)?.[1];
    if (text === undefined) throw new NginxError(`nginx does not say its version, but: ${output}`, '');
    return text.split('.').map(Number);
  }

  /** Looks at its whole configuration, ours in it. @throws NginxError with nginx's own words */
  async test(): Promise<void> {
    await this.#look('-t');
  }

  /** Returns nginx's whole configuration, as `nginx -T` prints it. @throws NginxError as `test` */
  dump(): Promise<string> {
    return this.#look('-T');
  }

  async #look(option: '-t' | '-T'): Promise<string> {
    const { status, output, stdout } = await this.#run(this.#program, [...this.#args, option]);
    if (status === 0) return stdout;
    throw new NginxError(
      `nginx does not take its configuration: ${output}`,
      /server_names_hash_bucket_size/.test(output)
        ? 'The name is longer than nginx is set up for: put `server_names_hash_bucket_size 128;` into the `http` block of /etc/nginx/nginx.conf.'
        : 'Where the fault is in another file than that of Sluice, put that in order; `nginx -t` shows it. nginx goes on with what it had.',
    );
  }

  /** Has it take its configuration now; started where it does not run. @throws NginxError */
  async load(): Promise<void> {
    if (this.#pidFile === undefined) {
      await this.#must('systemctl', ['reload-or-restart', 'nginx.service'], 'journalctl -u nginx');
      return;
    }
    const { status } = await this.#run(this.#program, [...this.#args, '-s', 'reload']);
    if (status !== 0) await this.#must(this.#program, this.#args, 'its error log');
  }

  /** The pid of its master; undefined where it does not run. */
  async master(): Promise<number | undefined> {
    const pid = Number(
      this.#pidFile === undefined ? await this.#mainPid() : await ifThere(readFile(this.#pidFile, 'utf8')),
    );
    return pid > 0 ? pid : undefined;
  }

  async #mainPid(): Promise<string> {
    const { output } = await this.#run('systemctl', [
      'show',
      '--property=MainPID',
      '--value',
      'nginx.service',
    ]);
    return output;
  }

  async #must(program: string, args: string[], where: string): Promise<void> {
    const { status, output } = await this.#run(program, args);
    if (status === 0) return;
    throw new NginxError(`nginx could not be started with it: ${output}`, `${where} tells more.`);
  }

  async #run(program: string, args: string[]): Promise<{ status: number; output: string; stdout: string }> {
    try {
      const { stdout, stderr } = await run(program, args, { timeout: 30_000, maxOutput: largestDump });
      return { status: 0, output: tidy(stderr + stdout), stdout };
    } catch (error) {
      const {
        stdout = '',
        stderr = '',
        code,
      } = error as { stdout?: string; stderr?: string; code?: unknown };
      if (systemCode(error) === 'ENOENT') throw missing(program);
      return {
        status: typeof code === 'number' ? code : 1,
        output: tidy(stderr + stdout) || String(error),
        stdout,
      };
    }
  }
}

function missing(program: string): NginxError {
  return program === 'systemctl'
    ? new NginxError('there is no systemctl, so nginx cannot be told', 'Sluice needs systemd for domains.')
    : new NginxError(
        'nginx is not installed',
        'On the server: `apt-get install nginx`, then add the domain again.',
      );
}

/** nginx's words without its own decoration, each once, and only so many of them. */
function tidy(output: string): string {
  const lines = output
    .split('\n')
    .map((line) => line.replace(decoration, '').trim())
    .filter((line) => line !== '' && !verdict.test(line));
  return [...new Set(lines)].join('; ').slice(0, 2000);
}

const decoration = /^(?:nginx: |\d{4}\/\d\d\/\d\d [\d:]{8} )(?:\[\w+\] )?(?:\d+#\d+: )?/;
const verdict = /^(?:the )?configuration file \S+ (?:syntax is ok|test failed|test is successful)$/;
