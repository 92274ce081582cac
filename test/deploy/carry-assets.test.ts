import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carryAssets } from '../../src/deploy/carry-assets.ts';
import { appSettings, writeTree } from '../support/builds.ts';
import { idOf, TestService } from '../support/service.ts';

test('a release goes live without the files of earlier releases if they cannot be linked', async (t) => {
  const server = await TestService.start(t);
  const files = { 'server.js': '', 'dist/index.html': '', 'dist/assets/index-DiwrgTda.js': '' };
  await server.deploy('shop', { 'package.json': { scripts: { start: 'node server.js' } }, ...files });
  const environment = await server.service.find(idOf('shop'));
  const tree = environment.paths.staged(2).directory;
  await writeTree(tree, { 'dist/assets/index-BBBBBBBB.js': '' });
  const lines: string[] = [];
  // The program that links files runs as the user of the app, and fails.
  server.runner.hasUsers = async () => true;
  server.runner.onJob = () => {
    throw new Error('no memory');
  };
  const deployment = { environment, number: 2, tree, log: (line: string) => void lines.push(line) };
  await carryAssets(deployment, { settings: appSettings() });
  assert.match(lines.join('\n'), /^1 file of earlier releases not kept: /);
});
