import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** Returns a new key and a self-signed certificate for a host name. */
export async function selfSigned(name: string): Promise<{ key: Buffer; cert: Buffer }> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const file = (part: string) => join(directory, part);
  try {
    await promisify(execFile)('openssl', [
      ...'req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1'.split(' '),
      ...['-keyout', file('key'), '-out', file('cert'), '-subj', `/CN=${name}`],
      ...['-addext', `subjectAltName=DNS:${name}`],
    ]);
    return { key: await readFile(file('key')), cert: await readFile(file('cert')) };
  } finally {
    await rm(directory, { recursive: true });
  }
}
