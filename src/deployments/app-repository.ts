import { fileURLToPath } from 'node:url';
import { Repository } from '../git/repository.ts';
import { Slots } from '../system/slots.ts';

const hooks = fileURLToPath(new URL('../../hooks', import.meta.url));

/** The repository of one app as the server has it in memory: what is on the disk, and who may change its refs now. */
export class AppRepository {
  readonly repository: Repository;
  /** held by whoever changes refs, or waits for git to do so */
  readonly refs = new Slots(1);
  /** clients of git that are served now and may push */
  pushes = 0;
  /** whether the branches were to be aligned while somebody pushed, and still are */
  behind = false;

  constructor(path: string) {
    this.repository = new Repository(path);
  }

  /** Makes the repository where it is not there yet. */
  ensure(): Promise<void> {
    return this.repository.ensure(hooks);
  }
}
