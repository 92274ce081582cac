// Deploys, fails, retains and drops releases until it is killed. Prints each number.
import { writeFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Paths } from '../../src/config/paths.ts';
import { noCommit } from '../../src/releases/release.ts';
import { ReleaseStore } from '../../src/releases/store.ts';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';

const [home = ''] = process.argv.slice(2);
const id = { app: 'shop', environment: 'production' };
const paths = new Paths(home).environment(id);
const store = new ReleaseStore(id, paths);
await store.reconcile();

for (;;) {
  const { number } = await store.allocate({ kind: 'upload', by: 'local', ...noCommit });
  writeFileSync(1, `${number}\n`);
  const { directory } = paths.staged(number);
  await mkdir(join(directory, 'lib'));
  for (let n = 0; n < 20; n++) await writeFile(join(directory, `lib/${n}.js`), String(number));
  if (number % 4 !== 0) await store.startBuild(number);
  if (number % 3 === 0) {
    await store.fail(number, { code: 'build_failed', message: 'it broke', hint: '', step: 'build' });
    continue;
  }
  await store.publish(number);
  if (number % 5 === 0) {
    await store.fail(number, { code: 'boot_exited', message: 'it broke', hint: '', step: 'boot' });
    continue;
  }
  await writeJsonAtomic(paths.generation, { generation: number, release: number });
  await store.markLive(number, new Date());
  await (await store.retain(2, new Set())).emptied;
}
