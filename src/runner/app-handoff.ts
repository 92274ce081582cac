import { describeError } from '../system/log/log.ts';
import { Handoff } from './handoff.ts';

/**
 * The handoff of one app: the same for all its workers that live, so that connections reach each worker that is open.
 * Exists from `open` until `close`.
 */
export class AppHandoff {
  readonly #directory: string;
  readonly #log: (message: string) => void;
  #current: Handoff | undefined;
  #isSuspect = false;

  /** @param directory see Handoff.create */
  constructor(directory: string, log: (message: string) => void) {
    this.#directory = directory;
    this.#log = log;
  }

  get current(): Handoff | undefined {
    return this.#current;
  }

  async open(): Promise<void> {
    this.#current ??= await Handoff.create(this.#directory, this.#log);
  }

  close(): void {
    this.#current?.close();
    this.#current = undefined;
    this.#isSuspect = false;
  }

  /**
   * Notes that a worker has aborted: it may have read something from the handoff that Node.js cannot receive, and there may
   * be more of it.
   */
  suspect(): void {
    this.#isSuspect = true;
  }

  /**
   * Replaces a suspect handoff as soon as no worker has it.
   * @param isHeld whether a worker that lives has this handoff
   * @returns the handoff for a worker that is started now; undefined after `close`
   */
  async forNew(isHeld: (handoff: Handoff) => boolean): Promise<Handoff | undefined> {
    const former = this.#current;
    if (former === undefined || !this.#isSuspect || isHeld(former)) return former;
    try {
      const fresh = await Handoff.create(this.#directory, this.#log);
      if (this.#current !== former || isHeld(former)) fresh.close();
      else {
        this.#current = fresh;
        this.#isSuspect = false;
        former.close();
      }
    } catch (error) {
      this.#log(`the handoff was not replaced: ${describeError(error)}`);
    }
    return this.#current;
  }
}
