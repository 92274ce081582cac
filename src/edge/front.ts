import { chmod, mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as v from 'valibot';
import type { EdgePaths } from '../config/paths.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { type Applied, appliedSchema, type Wanted, type WantedHost, wantedSchema } from './documents.ts';

/**
 * In ms. How long the part that is root may take: nginx's own test of a large configuration and a reload included. It
 * is told again in between, should it have just ended when it was told first.
 */
const deadlines = { applied: 30_000, again: 5_000, poll: 50 };

/** Our side of what stands between us and the part of the edge that is root. */
export class Front {
  readonly #paths: EdgePaths;
  readonly #deadline: number;
  #revision = 0;

  /** @param deadline in ms */
  constructor(paths: EdgePaths, deadline = deadlines.applied) {
    this.#paths = paths;
    this.#deadline = deadline;
  }

  /** Makes the directories; nginx must get through to the challenges, whatever our umask is. */
  async prepare(): Promise<void> {
    const { directory, challenges, certificates, openOrders } = this.#paths;
    for (const path of [directory, challenges, certificates, openOrders])
      await mkdir(path, { recursive: true });
    await chmod(directory, 0o711);
    await chmod(challenges, 0o755);
    await chmod(certificates, 0o700);
    await chmod(openOrders, 0o700);
  }

  /** The hosts that nginx was asked for last. */
  async hosts(): Promise<readonly WantedHost[]> {
    return (await this.#wanted())?.hosts ?? [];
  }

  /**
   * Has nginx answer for these hosts and no others, and waits until it does. Nothing is done where it does already.
   * The caller must not call this method again before the last call has ended.
   * @throws AppError `nginx_failed` in nginx's own words, `edge_unavailable` where nobody applies it
   */
  async apply(hosts: readonly WantedHost[]): Promise<void> {
    const [wanted, applied] = [await this.#wanted(), await this.#applied()];
    const isApplied = wanted?.revision === applied?.revision && applied?.error === null;
    if (isApplied && isDeepStrictEqual(wanted?.hosts, hosts)) return;
    if (wanted === undefined && hosts.length === 0) return;
    this.#revision = Math.max(this.#revision, wanted?.revision ?? 0, applied?.revision ?? 0);
    await this.#write(hosts);
  }

  async #write(hosts: readonly WantedHost[]): Promise<void> {
    const end = Date.now() + this.#deadline;
    this.#revision += 1;
    const revision = this.#revision;
    while (Date.now() < end) {
      await writeJsonAtomic(this.#paths.wanted, { revision, hosts: [...hosts] } satisfies Wanted);
      const applied = await this.#untilApplied(revision, Math.min(end, Date.now() + deadlines.again));
      if (applied === undefined) continue;
      if (applied.error === null) return;
      throw new AppError('nginx_failed', applied.error.message, { hint: applied.error.hint });
    }
    throw unavailable(this.#deadline);
  }

  async #untilApplied(revision: number, end: number): Promise<Applied | undefined> {
    for (;;) {
      const applied = await this.#applied();
      // Garbage is answered with 0: what we wrote is none, so somebody else wrote it over.
      if (applied !== undefined && applied.revision === revision) return applied;
      if (Date.now() > end) return undefined;
      await sleep(deadlines.poll);
    }
  }

  async #wanted(): Promise<Wanted | undefined> {
    return this.#parsed(wantedSchema, this.#paths.wanted);
  }

  async #applied(): Promise<Applied | undefined> {
    return this.#parsed(appliedSchema, this.#paths.applied);
  }

  /** What is damaged counts as absent: it is written anew. */
  async #parsed<T>(schema: v.GenericSchema<unknown, T>, path: string): Promise<T | undefined> {
    const result = v.safeParse(schema, await readJson(path).catch(() => undefined));
    return result.success ? result.output : undefined;
  }
}

function unavailable(deadline: number): AppError {
  return new AppError(
    'edge_unavailable',
    `nothing on this machine has set up nginx within ${deadline / 1000} s`,
    {
      hint: 'That is for sluice-edge.path and sluice-edge.service, of a system-wide install: `systemctl status sluice-edge.path sluice-edge.service` shows how they are. With `./install.sh --local` there are no domains: put a proxy of your own before the app.',
    },
  );
}
