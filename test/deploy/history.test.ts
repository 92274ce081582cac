import assert from 'node:assert/strict';
import { appendFile, readFile, stat, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { writeHistory } from '../../src/apps/history.ts';
import { Paths } from '../../src/config/paths.ts';
import { createLog } from '../../src/system/log/log.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const event = {
  by: 'local',
  action: 'deploy',
  app: 'shop',
  environment: 'production',
};

async function applianceOf(t: TestContext) {
  const paths = new Paths(await temporaryDirectory(t));
  const log = createLog(process.stderr.fd, 'server');
  return { appliance: { paths, log }, path: paths.events };
}

test('the history has one line for each event, and only its owner can read it', async (t) => {
  const { appliance, path } = await applianceOf(t);
  await Promise.all(
    [1, 2, 3].map((release) => writeHistory(appliance, { ...event, release, outcome: 'live' })),
  );
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  const releases = lines.map((line) => JSON.parse(line).release).sort();
  assert.deepEqual(releases, [1, 2, 3]);
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

test('an incomplete line after a crash does not affect the next line', async (t) => {
  const { appliance, path } = await applianceOf(t);
  await writeHistory(appliance, { ...event, outcome: 'live' });
  await appendFile(path, '{"at":"2026-01-0');
  await writeHistory(appliance, { ...event, outcome: 'failed', code: 'build_failed' });
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  assert.equal(lines.length, 3);
  assert.equal(JSON.parse(lines[2] ?? '').code, 'build_failed');
});

test('a full history is kept as the earlier one, and the one before it is removed', async (t) => {
  const { appliance, path } = await applianceOf(t);
  const earlier = appliance.paths.earlierEvents;
  const full = `${JSON.stringify({ action: 'x'.repeat(8 * 1024 ** 2) })}\n`;
  await writeFile(path, full);
  await writeFile(earlier, 'old\n');
  await Promise.all(
    [1, 2, 3].map((release) => writeHistory(appliance, { ...event, release, outcome: 'live' })),
  );
  const releasesIn = async (file: string) =>
    (await readFile(file, 'utf8'))
      .matchAll(/"release":(\d)/g)
      .map(([, release]) => release)
      .toArray();
  assert.ok((await readFile(earlier, 'utf8')).startsWith(full));
  assert.deepEqual(await releasesIn(earlier), ['1']);
  assert.deepEqual(await releasesIn(path), ['2', '3']);
});
