import { statfs } from 'node:fs/promises';

/** Limits for one app. With them, the backup of the other apps completes whatever an app does to its files. */
export interface Limits {
  /** entries below one directory, and directories among them */
  entries: number;
  directories: number;
  /** memory for names that wait for their turn, and for paths of files with several names; in bytes */
  memory: number;
  /** content of one environment, as a multiple of the size of its disks */
  disks: number;
  /** pieces of data between the holes of one file; a restore reads up to a million */
  pieces: number;
  /** time for programs that find holes, and for programs that copy databases, of one environment; in ms */
  searching: number;
  copying: number;
}

export const usualLimits: Limits = {
  entries: 5_000_000,
  directories: 500_000,
  memory: 48 * 1024 ** 2,
  disks: 2,
  pieces: 400_000,
  searching: 600_000,
  copying: 600_000,
};

/** Limit of the content of an environment. */
export class SizeLimit {
  readonly #multiple: number;
  readonly #devices = new Set<number>();
  readonly #disks = new Set<string>();
  #left = 0;

  /** @param multiple of the size of all disks with files of the environment */
  constructor(multiple: number) {
    this.#multiple = multiple;
  }

  /** Reserves bytes for the content of a file. @param at path of the file @returns false if there are not enough left */
  async take(bytes: number, device: number, at: string): Promise<boolean> {
    if (!this.#devices.has(device)) {
      this.#devices.add(device);
      const { type, bsize, blocks } = await statfs(at);
      // An app may make subvolumes of btrfs. Each has a device number of its own, and all have the size of the disk.
      const disk = `${type}:${bsize}:${blocks}`;
      // A network file system may not know its size.
      if (!this.#disks.has(disk)) this.#left += blocks === 0 ? Infinity : this.#multiple * bsize * blocks;
      this.#disks.add(disk);
    }
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
}
