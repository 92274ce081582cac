import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { EdgePaths } from '../config/paths.ts';
import { exists, ifThere } from '../system/fs/exists.ts';
import { listDirectory, syncDirectory, writeFileAtomic } from '../system/fs/files.ts';
import { describeCertificate } from './certificate.ts';
import type { DesiredHost } from './desired.ts';
import { NginxError } from './nginx.ts';
import type { ConfigTexts } from './nginx-config.ts';
import { readUntrusted } from './untrusted-home.ts';

/** Size limit of a key with its chain, in bytes. */
const maxCertificateBytes = 256 * 1024;

/**
 * Our part of nginx's configuration: one file or two, and a directory of certificates that only root can write. nginx does
 * not read the certificates in Sluice's home: without a file there, nginx would not start after the next reboot, and none of
 * its sites would be served.
 */
export class NginxFiles {
  readonly main: string;
  /** file that nginx reads after the sites of others */
  readonly last: string;
  readonly #certificates: string;

  /** @param directory of nginx's configuration, whose `nginx.conf` may include one of our files or both */
  constructor(directory: string) {
    this.main = join(directory, 'conf.d/sluice.conf');
    this.last = join(directory, 'sites-enabled/zzz-sluice.conf');
    this.#certificates = join(directory, 'sluice');
  }

  /** Returns the path of a host's certificate. It contains a hash, so the file that nginx uses now is never replaced. */
  certificateOf({ name, certificate }: DesiredHost): string {
    return join(this.#certificates, `${name}-${certificate.slice(0, 16)}.pem`);
  }

  /** Copies a host's certificate from the home, if it is valid. @throws NginxError */
  async copyCertificate(host: DesiredHost, home: string, edge: EdgePaths): Promise<void> {
    const path = this.certificateOf(host);
    if (await exists(path)) return;
    const pem = readCertificate(host, home, edge);
    mkdirSync(this.#certificates, { recursive: true, mode: 0o700 });
    await writeFileAtomic(path, pem, 0o600);
  }

  /** Removes the certificates of all other hosts. */
  async sweep(hosts: readonly DesiredHost[]): Promise<void> {
    const used = new Set(hosts.map((host) => this.certificateOf(host)));
    for (const name of await listDirectory(this.#certificates)) {
      const path = join(this.#certificates, name);
      if (!used.has(path)) await rm(path, { force: true });
    }
  }

  async readConfig(): Promise<ConfigTexts> {
    const textOf = (path: string) => ifThere(readFile(path, 'utf8'));
    return { main: await textOf(this.main), last: await textOf(this.last) };
  }

  /** Replaces each file in one step; undefined removes it. */
  async writeConfig({ main, last }: ConfigTexts): Promise<void> {
    for (const [path, text] of Object.entries({ [this.main]: main, [this.last]: last })) {
      if (text !== undefined) await writeFileAtomic(path, text, 0o644);
      else if (await exists(path)) {
        await rm(path, { force: true });
        await syncDirectory(dirname(path));
      }
    }
  }
}

function readCertificate({ name, certificate }: DesiredHost, home: string, edge: EdgePaths): string {
  try {
    const pem = readUntrusted(home, edge.certificate(name), maxCertificateBytes);
    if (createHash('sha256').update(pem).digest('hex') !== certificate)
      throw new Error('its SHA-256 differs from that in wanted.json');
    describeCertificate(pem, name);
    return pem;
  } catch (error) {
    throw new NginxError(`the certificate of ${name} was refused: ${(error as Error).message}`, '');
  }
}
