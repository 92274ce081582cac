import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import { answering, running } from '../support/apps.ts';
import { startSluice } from '../support/server.ts';

test('an app goes live without the files of macOS, and a committed .env has a note', async (t) => {
  const sluice = await startSluice(t);
  const attributes = Buffer.concat([Buffer.from('0005160700020000', 'hex'), Buffer.from('Mac OS X        ')]);
  const loadAll = `
    const routes = require('node:fs').readdirSync('routes').map((name) => require('./routes/' + name));
    require('node:http').createServer((q, r) => r.end(routes.join())).listen(process.env.PORT);
  `;
  const release = await sluice.deploy('shop', {
    ...running(loadAll),
    '._server.js': attributes,
    'routes/users.js': 'module.exports = "users"',
    'routes/._users.js': attributes,
    '.DS_Store': 'view',
    '.env': 'GREETING=hello\n',
  });
  assert.equal(await sluice.get('shop'), 'users');
  assert.deepEqual(
    release.notices.map(({ code, message }) => [code, message]),
    [
      ['mac_files_left_out', 'Left out ".DS_Store" and 2 others: only macOS uses such files'],
      ['file_not_read', 'Sluice does not set the variables in .env'],
    ],
  );
});

test('an app that lacks a variable of its .env gets the command that sets the variables', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('first'));
  const files = {
    ...running(`if (!process.env.GREETING) throw new Error('GREETING is not set');`),
    '.env': 'GREETING=hello\n',
  };
  const error = await sluice.deploy('shop', files).then(
    () => assert.fail('it went live'),
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof AppError);
  assert.match(error.message, /: GREETING is not set, because Sluice does not read the file \.env\n/);
  assert.equal(error.hint, 'Set the variables: sluice env set shop --file .env');
});
