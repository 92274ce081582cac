import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { writeJsonAtomic } from '../../src/system/fs/files.ts';
import { cli } from '../support/cli.ts';
import { Load } from '../support/load.ts';
import { apps } from '../support/runner.ts';
import { type Sluice, startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

/** Makes the registry have these versions, until the list is an hour old. */
function list(sluice: Sluice, ...versions: string[]): Promise<void> {
  return writeJsonAtomic(sluice.paths.nodeList, { readAt: new Date().toISOString(), versions });
}

async function update(t: TestContext, from: string, to: string): Promise<void> {
  const sluice = await startSluice(t);
  await list(sluice, from);
  const source = await readFile(join(apps, 'plain.cjs'), 'utf8');
  const settings = { settleTime: 100, workers: 2, node: from.replace(/\..*/, '') };
  await sluice.deploy('shop', { 'server.js': source, 'sluice.json': settings });
  const { port, node } = await sluice.status('shop');
  assert.equal(node, from);
  const load = new Load(port, 16);
  t.after(() => load.stop());
  const loaded = async () => {
    const before = load.answered;
    await waitFor(() => load.answered > before + 100, { what: 'the load' });
  };
  await loaded();
  await list(sluice, from, to);
  const { code, stdout, stderr } = await cli(['node', 'update'], { env: { SLUICE_HOME: sluice.home } });
  assert.equal(stdout + stderr, `shop runs on Node.js ${to} instead of ${from}\n`);
  assert.equal(code, 0);
  await loaded();
  const { errors, samples } = await load.stop();
  t.diagnostic(`${samples.length} requests, ${errors.length} lost`);
  assert.deepEqual(errors, []);
  assert.equal((await sluice.status('shop')).node, to);
}

test('an update of Node.js under load loses no request: 22 (thorough)', (t) =>
  update(t, '22.22.3', '22.23.5'));

test('an update of Node.js under load loses no request: 18 (thorough)', (t) =>
  update(t, '18.20.7', '18.20.8'));
