import assert from 'node:assert/strict';
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { startSluice } from '../support/server.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);

/** Workspace whose app depends on a sibling that must be built first. */
function workspace(): Record<string, unknown> {
  return {
    'package.json': { private: true, workspaces: ['apps/*', 'packages/*'] },
    'packages/greeting/package.json': {
      name: 'greeting',
      version: '1.0.0',
      main: 'dist/index.js',
      scripts: { build: 'mkdir dist && echo "module.exports = \'hello\'" > dist/index.js' },
    },
    'apps/web/package.json': {
      name: 'web',
      version: '1.0.0',
      scripts: { build: 'cp view.txt built.txt', start: 'node server.js' },
      dependencies: { greeting: '1.0.0' },
    },
    'apps/web/view.txt': 'of web',
    'apps/web/server.js': `
      const view = require('node:fs').readFileSync('built.txt', 'utf8');
      const text = [require('greeting'), view, process.cwd()].join(' ');
      require('node:http').createServer((_request, response) => response.end(text)).listen(process.env.PORT);
    `,
  };
}

test('a member of a workspace is installed with its workspace, built after its siblings, and runs in its directory', async () => {
  const seen = join(sluice.home, 'seen');
  await sluice.deploy('member', {
    ...workspace(),
    'sluice.json': { root: 'apps/web' },
    'apps/web/sluice.json': {
      workers: 1,
      shared: ['uploads'],
      hooks: { preBuild: `pwd >> ${seen}`, preSwitch: `pwd >> ${seen}` },
    },
  });
  const paths = sluice.paths.environment({ app: 'member', environment: 'production' });
  const web = join(paths.release(1).directory, 'apps/web');
  assert.equal(await sluice.get('member'), `hello of web ${web}`);
  assert.deepEqual((await readFile(seen, 'utf8')).trim().split('\n'), [
    join(paths.built.directory, 'apps/web'),
    web,
  ]);
  assert.ok((await lstat(join(web, 'uploads'))).isSymbolicLink());
  assert.ok((await lstat(join(paths.shared, 'apps/web/uploads'))).isDirectory());
});

test('a start command at the top that names a member builds and starts the member (thorough)', async () => {
  const manifest = {
    private: true,
    workspaces: ['apps/*', 'packages/*'],
    scripts: { start: 'npm start -w web' },
  };
  await sluice.deploy('named', { ...workspace(), 'package.json': manifest, 'sluice.json': { workers: 1 } });
  assert.match(await sluice.get('named'), /^hello of web .*\/apps\/web$/);
});

test('"directory" in the settings at the top runs a member (thorough)', async () => {
  const files = { ...workspace(), 'sluice.json': { directory: 'apps/web', workers: 1 } };
  await sluice.deploy('directory', files);
  assert.match(await sluice.get('directory'), /^hello of web .*\/apps\/web$/);
});
