import type { Environment } from '../apps/environment.ts';
import { AppError } from '../errors/app-error.ts';
import type { BootResult, SwitchResult } from '../protocol/runner.ts';
import type { ReleaseRecord } from '../releases/release.ts';
import { Masker } from '../system/text/mask/masker.ts';
import { maskError } from './mask-error.ts';
import { generationSpec, type SpecChanges } from './spec.ts';

interface BootOptions extends SpecChanges {
  signal?: AbortSignal;
  /** the app's output while it boots */
  onLine?: (line: string) => void;
}

/**
 * A generation of a release that has been booted and proved healthy, and gets no traffic until it is switched to. One
 * that is disposed of before is discarded. Whoever boots one holds `environment.traffic`.
 */
export class Generation {
  readonly booted: BootResult;
  readonly #environment: Environment;
  readonly #record: ReleaseRecord;
  #state: 'booted' | 'active' | 'discarded' = 'booted';

  private constructor(environment: Environment, record: ReleaseRecord, booted: BootResult) {
    this.#environment = environment;
    this.#record = record;
    this.booted = booted;
  }

  /** Nothing live is touched. @throws AppError that says why it did not become healthy */
  static async boot(
    environment: Environment,
    record: ReleaseRecord,
    options: BootOptions = {},
  ): Promise<Generation> {
    const { signal, onLine, ...changes } = options;
    const env = changes.env ?? (await environment.variables());
    const spec = await generationSpec(environment, record, { ...changes, env });
    const masker = new Masker(Object.values(env));
    const onProgress = ({ line }: { line: string }) => onLine?.(masker.maskText(line));
    try {
      const booted = await environment.appliance.runner.call('boot', { spec }, { signal, onProgress });
      return new Generation(environment, record, booted);
    } catch (error) {
      throw maskError(error, masker);
    }
  }

  /**
   * Moves the traffic to it.
   * @returns null where the connection to the runner was lost in the middle and the switch was made all the same
   * @throws AppError when the traffic stays where it was
   */
  async switch(): Promise<SwitchResult | null> {
    const { appliance, name, store } = this.#environment;
    await this.#environment.desire('running');
    await store.markActiveLive();
    const { generation, protocol } = this.booted;
    // Most apps speak HTTP, and their switch writes no record.
    if (protocol !== (this.#record.protocol ?? 'http')) await store.update(this.#record.number, { protocol });
    try {
      const result = await appliance.runner.call('switch', { key: name, generation });
      this.#state = 'active';
      return result;
    } catch (error) {
      // An answer that got lost says nothing. The file does: replacing it is what makes a switch.
      if (!(await this.#isOnRecord())) throw error;
      this.#state = 'active';
      appliance.log.warn('switched without an answer', { app: name, error });
      return null;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== 'booted') return;
    this.#state = 'discarded';
    const { appliance, name } = this.#environment;
    try {
      await appliance.runner.call('discard', { key: name, generation: this.booted.generation });
    } catch (error) {
      // Without the connection there is nothing to discard: the runner ends what was booted for a caller that is gone.
      if (!(error instanceof AppError && error.code === 'runner_unavailable')) {
        appliance.log.error('generation not discarded', { app: name, error });
      }
    }
  }

  async #isOnRecord(): Promise<boolean> {
    const active = await this.#environment.store.active();
    return active?.generation === this.booted.generation && active.release === this.#record.number;
  }
}
