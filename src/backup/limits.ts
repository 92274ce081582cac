import { statfs } from 'node:fs/promises';

/** Limits of what one app can take, so that the backup of the other apps completes whatever the app does to its files. */
export interface Limits {
  /** entries below one directory that the backup walks through, and directories among them */
  entries: number;
  directories: number;
  /** memory for names that the walk still has to visit, and for paths of files with several names; in bytes */
  memory: number;
  /** content of one environment, as a multiple of the size of its disks */
  disks: number;
  /** pieces of data between the holes of one file */
  pieces: number;
  /** time for programs that find holes, and for programs that copy databases, of one environment; in ms */
  searching: number;
  copying: number;
  /** databases of one environment that could not be copied */
  failedCopies: number;
}

export const usualLimits: Limits = {
  entries: 5_000_000,
  directories: 500_000,
  memory: 48 * 1024 ** 2,
  disks: 2,
  pieces: 100_000,
  searching: 600_000,
  copying: 600_000,
  failedCopies: 3,
};

/** Time that one kind of work may take in all. */
export class TimeLimit {
  /** the whole time, in ms */
  readonly total: number;
  readonly #now: () => number;
  #spent = 0;

  /** @param now returns a time in ms */
  constructor(total: number, now = () => performance.now()) {
    this.total = total;
    this.#now = now;
  }

  /** Time that is left, in ms. */
  get left(): number {
    return Math.max(0, this.total - this.#spent);
  }

  /** Counts the time until the result is disposed of. @param free time that does not count, in ms */
  start(free = 0): Disposable {
    const startedAt = this.#now();
    return {
      [Symbol.dispose]: () => {
        this.#spent += Math.max(0, this.#now() - startedAt - free);
      },
    };
  }
}

/** Bytes that an environment may take in a backup. */
export class Room {
  readonly #multiple: number;
  readonly #devices = new Set<number>();
  readonly #disks = new Set<string>();
  #left = 0;

  /** @param multiple of the size of all disks that files of the environment lie on */
  constructor(multiple: number) {
    this.#multiple = multiple;
  }

  /** Takes room for the content of a file. @param at path of the file @returns false if there is not enough left */
  async take(bytes: number, device: number, at: string): Promise<boolean> {
    if (!this.#devices.has(device)) {
      this.#devices.add(device);
      const { type, bsize, blocks } = await statfs(at);
      // Each subvolume of btrfs has a device number of its own, and an app may make subvolumes: all have the size of the disk.
      const disk = `${type}:${bsize}:${blocks}`;
      // A file system of the network may not know its size.
      if (!this.#disks.has(disk)) this.#left += blocks === 0 ? Infinity : this.#multiple * bsize * blocks;
      this.#disks.add(disk);
    }
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
}
