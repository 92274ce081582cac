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

/** Limits the outputs of ended processes that other processes of the app hold open: each takes two descriptors. */
const mayBeOrphaned = 16;

/** What the next runner must know to go on reading what a process prints. */
interface OutputRecord {
  origin: LogOrigin;
  log: LogSpec;
}

/** The output of all processes: a pair of FIFOs each, in a directory where the next runner finds them. */
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
   * @param user of the process, if apps have users
   * @throws an error with the code EMFILE if too few descriptors are left
   */
  async open(log: LogSpec, origin: LogOrigin, user?: Identity): Promise<ProcessOutput> {
    needDescriptors();
    const id = randomUUID();
    const output = this.#output(id, { origin, log });
    try {
      // Node.js has no call for it.
      const fifos = [this.#path(id, 'out'), this.#path(id, 'err')];
      await run('mkfifo', ['-m', '600', ...fifos]);
      // It inherits them open; by /dev/stdout it opens them once more.
      if (user !== undefined) for (const fifo of fifos) chownSync(fifo, user.uid, user.gid);
      // Last: with it the next runner takes the FIFOs for granted.
      const record: OutputRecord = { origin, log };
      writeFileSync(this.#path(id, 'json'), JSON.stringify(record), { mode: 0o600 });
    } catch (error) {
      // A full disk must not keep an app from running.
      output.discard();
      this.#log(`what ${origin.process} prints is lost: ${(error as Error).message}`);
      output.note(`what it prints is lost: ${(error as Error).message}`);
    }
    return output;
  }

  /** What an earlier runner left; to be called before anything is opened. What nobody can make sense of is removed. */
  async restore(): Promise<ProcessOutput[]> {
    const records = new Map<string, OutputRecord>();
    const names = await listDirectory(this.#directory);
    for (const name of names.filter((each) => each.endsWith('.json'))) {
      const record = await readRecord(join(this.#directory, name));
      if (record !== undefined) records.set(idOf(name), record);
    }
    for (const name of names) {
      if (!records.has(idOf(name)) && !name.endsWith('.reading'))
        await rm(join(this.#directory, name), { force: true });
    }
    return [...records].flatMap(([id, record]) => {
      try {
        return [this.#output(id, record)];
      } catch (error) {
        // Of another version of ours, maybe. What cannot be read must not keep us from starting.
        this.#log(`the output of ${id} is given up: ${describeError(error)}`);
        return [];
      }
    });
  }

  /** Returns the number of file descriptors that are open for the processes that write into one log. */
  descriptors(directory: string): number {
    return [...this.#open].reduce(
      (sum, [output, of]) => sum + (of === directory ? output.descriptors : 0),
      0,
    );
  }

  /** Waits, for a moment, until all that was printed is in the logs. */
  async end(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((output) => output.end()));
  }

  /** Reads no more, for good; what has been read is in the logs. */
  async stop(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((output) => output.stop()));
  }

  #output(id: string, { origin, log }: OutputRecord): ProcessOutput {
    const appLog = this.#logs.get(log);
    const output: ProcessOutput = new ProcessOutput({
      origin,
      log: appLog,
      allowance: this.#allowance(appLog),
      masker: sharedMasker(log.secrets),
      out: this.#path(id, 'out'),
      err: this.#path(id, 'err'),
      record: this.#path(id, 'json'),
      ended: () => this.#open.delete(output),
      orphaned: () => this.#limitOrphaned(log.directory),
      failed: (error) => this.#log(`what ${origin.process} printed is lost: ${describeError(error)}`),
    });
    this.#open.set(output, log.directory);
    return output;
  }

  #allowance(log: AppLog): Allowance {
    const known = this.#allowances.get(log);
    if (known !== undefined) return known;
    const allowance = new Allowance(printed.atOnce, printed.perSecond, performance.now());
    this.#allowances.set(log, allowance);
    return allowance;
  }

  /** Closes the oldest outputs of an app that only processes left behind by ended processes hold open. */
  #limitOrphaned(directory: string): void {
    const orphaned = [...this.#open].filter(([output, of]) => of === directory && output.isOrphaned);
    for (const [output] of orphaned.slice(0, -mayBeOrphaned)) {
      output.note('Sluice no longer reads the output of the processes that this one left behind');
      void output.cut();
    }
  }

  #path(id: string, kind: 'out' | 'err' | 'json'): string {
    return join(this.#directory, `${id}.${kind}`);
  }
}

function idOf(name: string): string {
  return name.slice(0, name.indexOf('.'));
}

/** Undefined where it was not written whole: its writer was killed, or the disk was full. */
async function readRecord(path: string): Promise<OutputRecord | undefined> {
  try {
    return (await readJson(path)) as OutputRecord;
  } catch {
    return undefined;
  }
}
