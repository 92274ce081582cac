import { fileURLToPath } from 'node:url';
import { Repository } from '../git/repository.ts';
import { Slots } from '../system/concurrency/slots.ts';

const hooks = fileURLToPath(new URL('../../hooks', import.meta.url));

/** The repository of one app as the server has it in memory: what is on the disk, and who may change its refs now. */
export class AppRepository {
  readonly repository: Repository;
  /** held by whoever changes refs, or waits for git to do so */
  readonly refs = new Slots(1);
  /** clients of git that are served now and may push */
  #pushers = 0;
  #isBehind = false;

  constructor(path: string) {
    this.repository = new Repository(path);
  }

  /** Makes the repository where it is not there yet. */
  ensure(): Promise<void> {
    return this.repository.ensure(hooks);
  }

  /** Notes a client that may push, until what is returned is disposed of. */
  enter(): Disposable {
    this.#pushers += 1;
    const inside = new DisposableStack();
    inside.defer(() => {
      this.#pushers -= 1;
    });
    return inside;
  }

  /** Whether somebody is served who may push. */
  get isBusy(): boolean {
    return this.#pushers > 0;
  }

  /** Whether the branches are not to be aligned now, since somebody pushes; it is remembered that they must be. */
  postponesAlignment(): boolean {
    this.#isBehind = this.isBusy;
    return this.#isBehind;
  }

  /** Whether the branches were to be aligned while somebody pushed, and still are. */
  get isBehind(): boolean {
    return this.#isBehind;
  }
}
