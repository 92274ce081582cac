import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from 'tar';
import { type Files, writeTree } from './tree.ts';

export type { Files } from './tree.ts';

/** A tar.gz of files, as an upload has it. */
export async function pack(files: Files): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  try {
    await writeTree(directory, files);
    return await create({ gzip: true, cwd: directory }, ['.']).concat();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
