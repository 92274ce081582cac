import { randomUUID } from 'node:crypto';
import { chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { AppLog } from '../../logs/app-log.ts';
import type { AppLogs } from '../../logs/app-logs.ts';
import type { LogOrigin } from '../../logs/line.ts';
import type { LogSpec } from '../../protocol/runner.ts';
import { listDirectory, readJson } from '../../system/fs/files.ts';
import { describeError } from '../../system/log/log.ts';
import { needDescriptors } from '../../system/process/descriptors.ts';
import { run } from '../../system/process/run.ts';
import { sharedMasker } from '../../system/text/mask/masker.ts';
import { Allowance } from '../allowance.ts';
import type { Identity } from '../users/identity.ts';
import { ProcessOutput, printed } from './process-output.ts';

/** Limits the outputs of ended processes that leftover processes of an app have open: each takes two descriptors. */
const mostOrphaned = 16;

/** Record of an output for the next runner. */
interface OutputRecord {
  origin: LogOrigin;
  log: LogSpec;
}

/** Outputs of all processes: a pair of FIFOs each, in a directory where the next runner finds them. */
export class Outputs {
  readonly #directory: string;
  readonly #logs: AppLogs;
  readonly #log: (message: string) => void;
  /** open outputs with the directory of their log, the oldest first */
  readonly #open = new Map<ProcessOutput, string>();
  readonly #allowances = new WeakMap<AppLog, Allowance>();

  constructor(directory: string, logs: AppLogs, log: (message: string) => void) {
    this.#directory = directory;
    this.#logs = logs;
    this.#log = log;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  /**
   * Opens the output of a process that is about to be started.
   * @param user user of the process, if apps have users
   * @throws an error with the code EMFILE if too few descriptors are left
   */
  async open(log: LogSpec, origin: LogOrigin, user?: Identity): Promise<ProcessOutput> {
    needDescriptors();
    const id = randomUUID();
    const record: OutputRecord = { origin, log };
    const output = this.#output(id, record);
    const path = join(this.#directory, id);
    try {
      // Node.js has no call for FIFOs.
      const fifos = [`${path}.out`, `${path}.err`];
      await run('mkfifo', ['-m', '600', ...fifos]);
      // The process inherits the FIFOs. By /dev/stdout it opens them once more.
      if (user !== undefined) for (const fifo of fifos) chownSync(fifo, user.uid, user.gid);
      // The record comes last: the next runner expects its FIFOs.
      writeFileSync(`${path}.json`, JSON.stringify(record), { mode: 0o600 });
    } catch (error) {
      // A full disk must not keep an app from running.
      output.remove();
      this.#log(`the output of ${origin.process} is lost: ${(error as Error).message}`);
      output.note(`the output of this process is lost: ${(error as Error).message}`);
    }
    return output;
  }

  /** Continues the outputs of an earlier runner. Removes files without a valid record. To be called before `open`. */
  async restore(): Promise<void> {
    const outputs = new Map<string, ProcessOutput>();
    const names = await listDirectory(this.#directory);
    for (const name of names.filter((each) => each.endsWith('.json'))) {
      try {
        const record = (await readJson(join(this.#directory, name))) as OutputRecord;
        outputs.set(idOf(name), this.#output(idOf(name), record));
      } catch (error) {
        // A record that was not written whole, or an invalid one, must not keep the runner from starting.
        this.#log(`the output ${name} of an earlier runner is lost: ${describeError(error)}`);
      }
    }
    for (const name of names) {
      if (!outputs.has(idOf(name)) && !name.endsWith('.reading'))
        await rm(join(this.#directory, name), { force: true });
    }
    for (const output of outputs.values()) output.adopt();
  }

  /** Returns the number of file descriptors that are open for the processes that write into one log. */
  descriptors(directory: string): number {
    return 2 * [...this.#open.values()].filter((each) => each === directory).length;
  }

  /** Waits, for a limited time, until all output is in the logs. */
  async end(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((output) => output.end()));
  }

  /** Stops reading for good. All text that was read is in the logs then. */
  async stop(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((output) => output.stop()));
  }

  #output(id: string, { origin, log }: OutputRecord): ProcessOutput {
    const appLog = this.#logs.get(log);
    const allowance = this.#allowances.getOrInsertComputed(
      appLog,
      () => new Allowance(printed.atOnce, printed.perSecond, performance.now()),
    );
    const output: ProcessOutput = new ProcessOutput({
      origin,
      log: appLog,
      allowance,
      masker: sharedMasker(log.secrets),
      path: join(this.#directory, id),
      ended: () => this.#open.delete(output),
      orphaned: () => this.#limitOrphaned(log.directory),
      failed: (error) => this.#log(`output of ${origin.process} is lost: ${describeError(error)}`),
    });
    this.#open.set(output, log.directory);
    return output;
  }

  /** Closes the oldest outputs of an app that only leftover processes have open. */
  #limitOrphaned(directory: string): void {
    const orphaned = [...this.#open].filter(([output, of]) => of === directory && output.isOrphaned);
    for (const [output] of orphaned.slice(0, -mostOrphaned)) {
      output.note('Sluice no longer reads the output of processes that this one left running');
      void output.cut();
    }
  }
}

function idOf(name: string): string {
  return name.slice(0, name.indexOf('.'));
}
