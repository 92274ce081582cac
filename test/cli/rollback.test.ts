import assert from 'node:assert/strict';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('`sluice rollback` on the server opens workers on standby, and prints an error as the CLI does', async (t) => {
  const sluice = await startSluice(t);
  const env = { SLUICE_HOME: sluice.home };
  await sluice.deploy('shop', answering('one', { keepWarm: '60s' }));
  await sluice.deploy('shop', answering('two', { keepWarm: '60s' }));
  const back = await cli(['rollback', 'shop'], { env });
  assert.deepEqual([back.code, back.stderr], [0, '']);
  assert.match(
    back.stdout,
    /^release 1 of shop \(production\)\n-- boot\n {3}release 1 is on standby.*\n-- switch\nlive: /,
  );

  // A service or a schedule may have no HOME.
  const directory = await temporaryDirectory(t);
  await symlink(sluice.home, join(directory, '.sluice'));
  for (const home of [{ SLUICE_HOME: sluice.home }, { XDG_CONFIG_HOME: directory }]) {
    const homeless = await cli(['rollback', 'shop', '2'], {
      cwd: directory,
      env: { ...home, HOME: undefined },
    });
    assert.deepEqual([homeless.code, homeless.stderr], [0, '']);
    assert.match(homeless.stdout, /\nlive: /);
  }

  const unfit = join(sluice.home, 'unfit');
  const program = `
    if (require('node:fs').existsSync(${JSON.stringify(unfit)})) {
      console.log('\\x1b[31mred\\x1b[0m');
      process.exit(3);
    }
    require('node:http').createServer((_, response) => response.end()).listen(process.env.PORT);
  `;
  await sluice.deploy('odd', running(program, { keepWarm: 0 }));
  await sluice.deploy('odd', answering('two', { keepWarm: 0 }));
  await writeFile(unfit, '');
  const failed = await cli(['rollback', 'odd'], { env });
  const asked = await cli(['rollback', 'odd', '1', '--'], { env });
  assert.equal(failed.code, 1);
  assert.match(failed.stderr, /^failed at boot: [^\n]+\n.*\n {2}[A-Z]/s);
  assert.equal(failed.stderr, asked.stderr);
  assert.ok(!`${failed.stdout}${failed.stderr}`.includes('\x1b'));
});
