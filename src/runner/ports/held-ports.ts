import { once } from 'node:events';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { AppError, systemCode } from '../../errors/app-error.ts';
import type { HeldPortsReport, PortAddress } from '../../protocol/runner.ts';
import { withDeadline } from '../../system/concurrency/deadline.ts';
import { Lock } from '../../system/concurrency/slots.ts';
import { describeError } from '../../system/log/log.ts';
import { needDescriptors } from '../../system/process/descriptors.ts';
import { isAlive, signalProcess } from '../../system/process/processes.ts';
import { spawn } from '../../system/process/run.ts';
import { killOnError } from '../exit.ts';
import type { ProcessRecords } from '../takeover/process-records.ts';

const script = fileURLToPath(new URL('hold-ports.pl', import.meta.url));

/** Time for a holder to bind all ports, in ms. */
const bindsWithin = 10_000;
/** Pause after the replacement of a holder that ended, in ms: its successor may end at once, again and again. */
const replacePause = 250;
/** Pause before another attempt to hold all ports, in ms: another program has some, or the disk was full. */
const retryPause = 30_000;
/** Time for a killed holder to be gone, in ms. */
const endsWithin = 5000;
/** Limit of the addresses that the server may name. */
const maxAddresses = 65_535;

interface Holder {
  pid: number;
  refused: string[];
}

/**
 * Assigned ports, on which no process of another user can listen, whether or not their apps run. A small process, the holder,
 * has these ports bound. The holder outlives the runner, and the next runner starts its own one beside it.
 */
export class HeldPorts {
  readonly #perl: string;
  readonly #directory: string;
  readonly #records: ProcessRecords;
  readonly #log: (message: string) => void;
  readonly #retryAfter: number;
  readonly #turns = new Lock();
  #ports: readonly PortAddress[] = [];
  #holder: Holder | undefined;
  report: HeldPortsReport = { unavailable: null, refused: [] };
  #retry: NodeJS.Timeout | undefined;

  /** @param directory of the process records: a holder ends when its record is gone */
  constructor(
    directory: string,
    records: ProcessRecords,
    log: (message: string) => void,
    { perl = '/usr/bin/perl', retryAfter = retryPause } = {},
  ) {
    this.#perl = perl;
    this.#retryAfter = retryAfter;
    this.#directory = directory;
    this.#records = records;
    this.#log = log;
  }

  /**
   * Holds exactly these ports. A port that is held already is never free meanwhile.
   * @throws AppError `bad_request` for anything but numeric addresses and ports
   */
  hold(addresses: readonly PortAddress[]): Promise<HeldPortsReport> {
    const ports = checked(addresses);
    return this.#turns.run(async () => {
      const isHeld = this.#holder?.refused.length === 0 && isDeepStrictEqual(ports, this.#ports);
      this.#ports = ports;
      if (!isHeld) await this.#replace();
      return this.report;
    });
  }

  /** Ends all holders, which frees the ports. */
  dismiss(): Promise<void> {
    return this.#turns.run(async () => {
      clearTimeout(this.#retry);
      this.#ports = [];
      await this.#replace();
    });
  }

  async #replace(): Promise<void> {
    let next: Holder | undefined;
    try {
      if (this.#ports.length > 0) next = await this.#startHolder();
    } catch (error) {
      // Without a successor, the former holder stays: it has most of the ports.
      this.#noteUnavailable(error);
      return this.#retryLater();
    }
    this.#holder = next;
    this.report = { unavailable: null, refused: next?.refused ?? [] };
    if (this.report.refused.length > 0) this.#retryLater();
    for (const record of await this.#records.alive()) {
      if (record.kind !== 'holder' || record.pid === next?.pid) continue;
      await this.#end(record.pid);
    }
  }

  #retryLater(): void {
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      void this.#turns.run(() => this.#repair());
    }, this.#retryAfter).unref();
  }

  /** Replaces the holder if it lacks ports. No caller handles an error, so it must not end the runner. */
  async #repair(): Promise<void> {
    const { unavailable, refused } = this.report;
    if (this.#holder !== undefined && unavailable === null && refused.length === 0) return;
    try {
      await this.#replace();
    } catch (error) {
      this.#log(`ports are tried again: ${describeError(error)}`);
      this.#retryLater();
    }
  }

  #noteUnavailable(error: unknown): void {
    const reason = systemCode(error) === 'ENOENT' ? `there is no ${this.#perl}` : (error as Error).message;
    if (this.report.unavailable !== reason)
      this.#log(`ports of apps that do not run are not held, and other programs may listen there: ${reason}`);
    this.report = { unavailable: reason, refused: [] };
  }

  async #startHolder(): Promise<Holder> {
    if (process.platform !== 'linux') throw new Error(`not on ${process.platform}`);
    needDescriptors();
    const child = spawn(this.#perl, [script], {
      cwd: this.#directory,
      env: {},
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
    });
    let printed = '';
    const ended = once(child, 'exit').then(() => {
      throw new Error(printed.trim() || 'the holder ended');
    });
    // `ended` may be rejected while nothing waits for it yet.
    ended.catch(() => undefined);
    const { pid } = child;
    if (pid === undefined) return ended;
    killOnError(pid, () => this.#records.add('holder', '', pid));
    child.stdin.on('error', () => undefined);
    child.stdin.end(this.#ports.map(({ host, port }) => `${host} ${port}\n`).join(''));
    const held = Promise.withResolvers<void>();
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        printed += text;
        if (/^held$/m.test(printed)) held.resolve();
      });
    }
    try {
      const outcome = await withDeadline(Promise.race([held.promise, ended]), bindsWithin);
      if (outcome.timedOut) throw new Error(`binding them took more than ${bindsWithin / 1000} s`);
    } catch (error) {
      await this.#end(pid);
      throw error;
    }
    child.stderr.destroy();
    child.on('exit', () => this.#ended(pid));
    const refused = [...printed.matchAll(/^refused (\S+) (\d+): (.*)$/gm)].map(
      ([, host, port, reason]) => `port ${port} on ${host}: ${reason}`,
    );
    // A retry usually finds the same ports refused.
    for (const each of refused) if (!this.report.refused.includes(each)) this.#log(`not held: ${each}`);
    return { pid, refused };
  }

  /** Kills a holder, and waits until its ports are free. */
  async #end(pid: number): Promise<void> {
    signalProcess(-pid, 'SIGKILL');
    const deadline = performance.now() + endsWithin;
    while (isAlive(-pid) && performance.now() < deadline) await sleep(2);
    this.#records.remove(pid);
  }

  /** Replaces a holder that was killed. */
  #ended(pid: number): void {
    this.#records.remove(pid);
    if (this.#holder?.pid !== pid) return;
    this.#log(`the process that holds ports (pid ${pid}) has ended and is replaced`);
    this.#holder = undefined;
    void this.#turns.run(async () => {
      await this.#repair();
      await sleep(replacePause, undefined, { ref: false });
    });
  }
}

function checked(addresses: unknown): PortAddress[] {
  const isAddress = (each: Partial<PortAddress> | null) =>
    typeof each?.host === 'string' &&
    isIP(each.host) !== 0 &&
    !each.host.includes('%') &&
    Number.isInteger(each.port) &&
    Number(each.port) >= 1 &&
    Number(each.port) <= 65_535;
  if (Array.isArray(addresses) && addresses.length <= maxAddresses && addresses.every(isAddress))
    return addresses.map(({ host, port }) => ({ host, port }));
  throw new AppError('bad_request', 'the ports to hold must be a list of numeric addresses and ports');
}
