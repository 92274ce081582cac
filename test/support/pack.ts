import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { create } from 'tar';

/** Content by path; what is no text is written as JSON. */
export type Files = Record<string, unknown>;

/** A tar.gz of files, as an upload has it. */
export async function pack(files: Files): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  try {
    for (const [path, content] of Object.entries(files)) {
      const file = join(directory, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, typeof content === 'string' ? content : JSON.stringify(content, null, 2));
    }
    return await create({ gzip: true, cwd: directory }, ['.']).concat();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
