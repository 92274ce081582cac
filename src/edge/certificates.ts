import { readFile, rm } from 'node:fs/promises';
import type { EdgePaths } from '../config/paths.ts';
import { ifThere } from '../system/fs/exists.ts';
import { listDirectory, writeFileAtomic } from '../system/fs/files.ts';
import { type CertificateInfo, describeCertificate } from './certificate.ts';
import { runChild } from './child.ts';
import type { SelfSignTask } from './self-sign.ts';

/** Longest lifetime that browsers accept, in days. */
const selfSignedDays = 397;

/** Certificates of the host names, each in a file with its key. Only this process writes them, so it reads each once. */
export class Certificates {
  readonly #paths: EdgePaths;
  readonly #known = new Map<string, CertificateInfo>();

  constructor(paths: EdgePaths) {
    this.#paths = paths;
  }

  /** Returns the certificate that was last read or written; undefined if there is none. */
  known(name: string): CertificateInfo | undefined {
    return this.#known.get(name);
  }

  /** @returns undefined if there is none. @throws AppError `invalid_certificate` if the file is damaged */
  async load(name: string): Promise<CertificateInfo | undefined> {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const pem = await ifThere(readFile(this.#paths.certificate(name), 'utf8'));
    if (pem === undefined) return undefined;
    const info = describeCertificate(pem, name);
    this.#known.set(name, info);
    return info;
  }

  /** @throws AppError `invalid_certificate`; the file is unchanged then */
  async write(name: string, pem: string): Promise<CertificateInfo> {
    const info = describeCertificate(pem, name);
    await writeFileAtomic(this.#paths.certificate(name), pem);
    this.#known.set(name, info);
    return info;
  }

  async selfSign(name: string): Promise<CertificateInfo> {
    const task: SelfSignTask = { name, days: selfSignedDays };
    return this.write(name, (await runChild<string>('self-sign.ts', task)) ?? '');
  }

  /** Returns a function that restores the current certificate of a host. */
  async remember(name: string): Promise<() => Promise<void>> {
    const path = this.#paths.certificate(name);
    const pem = await ifThere(readFile(path, 'utf8'));
    return async () => {
      if (pem === undefined) return this.remove(name);
      await writeFileAtomic(path, pem);
      this.#known.delete(name);
      // The earlier certificate may have been damaged.
      await this.load(name).catch(() => undefined);
    };
  }

  async remove(name: string): Promise<void> {
    this.#known.delete(name);
    await rm(this.#paths.certificate(name), { force: true });
  }

  /**
   * Removes useless certificates of other names. A valid one stays: an authority issues only a few for one name in a week,
   * and somebody may add the name again.
   */
  async sweep(names: readonly string[]): Promise<void> {
    for (const file of await listDirectory(this.#paths.certificates)) {
      const name = file.replace(/\.pem$/, '');
      if (names.includes(name) || name === file) continue;
      const info = await this.load(name).catch(() => undefined);
      this.#known.delete(name);
      if (info === undefined || info.selfSigned || Date.parse(info.expiresAt) < Date.now())
        await this.remove(name);
    }
  }
}
