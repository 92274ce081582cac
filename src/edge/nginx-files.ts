import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { EdgePaths } from '../config/paths.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { listDirectory, syncDirectory, writeFileAtomic } from '../system/fs/files.ts';
import { describeCertificate } from './certificate.ts';
import type { WantedHost } from './documents.ts';
import { NginxError } from './nginx.ts';
import type { ConfigTexts } from './nginx-config.ts';
import { readUntrusted } from './untrusted-file.ts';

/** The most that a key and a chain take. */
const largestCertificate = 256 * 1024;

/**
 * Our part of nginx's configuration: one file or two, and a directory of certificates that only root can write. nginx does
 * not read those in Sluice's home: a file there that is damaged or gone would keep nginx, and with it all that it does
 * for others, from starting after the next reboot.
 */
export class NginxFiles {
  readonly main: string;
  readonly last: string;
  readonly #certificates: string;

  /** @param last path of a file that nginx reads after the sites of others, if its configuration includes that path */
  constructor(main: string, last: string, certificates: string) {
    this.main = main;
    this.last = last;
    this.#certificates = certificates;
  }

  /** Named by content too: the file that the running nginx goes by stays as it was. */
  certificateOf({ name, certificate }: WantedHost): string {
    return join(this.#certificates, `${name}-${certificate.slice(0, 16)}.pem`);
  }

  /** Takes over a host's certificate from the home, if it is one. @throws NginxError */
  async takeCertificate(host: WantedHost, home: string, edge: EdgePaths): Promise<void> {
    const path = this.certificateOf(host);
    if (await exists(path)) return;
    const pem = readCertificate(host, home, edge);
    mkdirSync(this.#certificates, { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, pem, 0o600);
  }

  /** Removes the certificates that these hosts do not have. */
  async sweep(hosts: readonly WantedHost[]): Promise<void> {
    const kept = new Set(hosts.map((host) => this.certificateOf(host)));
    for (const name of await listDirectory(this.#certificates)) {
      const path = join(this.#certificates, name);
      if (!kept.has(path)) await rm(path, { force: true });
    }
  }

  /** Reads our files of nginx's configuration. */
  async config(): Promise<ConfigTexts> {
    const [main, last] = await Promise.all(
      [this.main, this.last].map((path) => ifThere(readFile(path, 'utf8'))),
    );
    return { main, last };
  }

  /** Replaces each file in one step; undefined removes it. */
  async writeConfig({ main, last }: ConfigTexts): Promise<void> {
    await this.#write(this.main, main);
    await this.#write(this.last, last);
  }

  async #write(path: string, text: string | undefined): Promise<void> {
    if (text !== undefined) return writeFileAtomic(path, text, 0o644);
    if (!(await exists(path))) return;
    await rm(path, { force: true });
    await syncDirectory(dirname(path));
  }
}

function readCertificate({ name, certificate }: WantedHost, home: string, edge: EdgePaths): string {
  try {
    const pem = readUntrusted(home, edge.certificate(name), largestCertificate);
    if (createHash('sha256').update(pem).digest('hex') !== certificate) {
      throw new Error('it is not the one that was meant');
    }
    describeCertificate(pem, name);
    return pem;
  } catch (error) {
    throw new NginxError(`the certificate of ${name} was not taken: ${(error as Error).message}`, '');
  }
}
