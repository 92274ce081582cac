import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppError } from '../../src/errors/app-error.ts';
import type { ErrorCode } from '../../src/errors/codes.ts';
import { answering, running } from '../support/apps.ts';
import type { Files } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { Visitor } from '../support/visitor.ts';

interface Broken {
  name: string;
  files: Files;
  code: ErrorCode;
  step: string;
  message: RegExp;
  hint?: RegExp;
}

const building = (script: string, settings = {}): Files => ({
  ...answering('never', settings),
  'package.json': { name: 'app', scripts: { build: script, start: 'node server.js' } },
});

const broken: Broken[] = [
  {
    name: 'a build that fails',
    files: building('echo cannot find the moon && exit 3'),
    code: 'build_failed',
    step: 'build',
    message: /cannot find the moon/,
  },
  {
    name: 'a build that does not end',
    files: building('node -e "setInterval(() => undefined, 1000)"', { build: { timeout: '1s' } }),
    code: 'build_timeout',
    step: 'build',
    message: /1\.0 s/,
  },
  {
    name: 'an install that fails',
    files: {
      ...answering('never'),
      'package.json': { name: 'app', dependencies: { gone: 'file:./not-there.tgz' } },
    },
    code: 'install_failed',
    step: 'install',
    message: /not-there/,
  },
  {
    name: 'an app that exits at boot',
    files: running(`throw new Error('no database at all')`),
    code: 'boot_exited',
    step: 'boot',
    message: /no database at all/,
  },
  {
    name: 'an app that lists every field of an error after its message',
    files: running(
      `throw Object.assign(new Error("env must have required property 'COOKIE_SECRET'"), { errors: [...Array(60).keys()] })`,
    ),
    code: 'boot_exited',
    step: 'boot',
    message: /COOKIE_SECRET is not set/,
    hint: /sluice env set \S+ COOKIE_SECRET=/,
  },
  {
    name: 'an app that ends long after a warning about a variable',
    files: running(
      `console.error('warning: SENTRY_DSN is not set');
      for (let n = 0; n < 40; n++) console.log('loading part', n);
      throw new Error('the license file is damaged')`,
    ),
    code: 'boot_exited',
    step: 'boot',
    message: /before it listened\n(?:.|\n)*the license file is damaged/,
  },
  {
    name: 'an app that ends long after an error that it survives',
    files: running(
      `console.error('Error: optional module sharp not available');
      for (let n = 0; n < 40; n++) console.error('loading part', n);
      console.error('FATAL: the license file is damaged');
      process.exit(1)`,
    ),
    code: 'boot_exited',
    step: 'boot',
    message: /Error: optional module sharp(?:.|\n)*\n {2}\| …\n(?:.|\n)*FATAL: the license file is damaged$/,
  },
  {
    name: 'an app that requires a variable',
    files: running(`throw new Error('DATABASE_URL is not set')`),
    code: 'boot_exited',
    step: 'boot',
    message: /before it listened: DATABASE_URL is not set\n/,
    hint: /^Set the value: sluice env set shop DATABASE_URL=…$/,
  },
  {
    name: 'an app that lacks a package',
    files: running(`require('no-such-package')`),
    code: 'boot_exited',
    step: 'boot',
    message:
      /before it listened: no-such-package is not installed\n(?:.|\n)*Cannot find module 'no-such-package'/,
    hint: /^Run `npm install no-such-package` and commit package\.json with the lockfile\.$/,
  },
  {
    name: 'TypeScript that Node.js cannot run',
    files: {
      'server.ts': 'enum Colour { Red }\nconsole.log(Colour.Red);\n',
      'package.json': { type: 'module', scripts: { start: 'node server.ts' } },
      'sluice.json': { workers: 1 },
    },
    code: 'boot_exited',
    step: 'boot',
    message: /enum must be transformed\n(?:.|\n)*ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX/,
    hint: /Compile it in the "build" script .*--import tsx/,
  },
  {
    name: 'an app that ends and prints nothing',
    files: running('module.exports = {}'),
    code: 'boot_exited',
    step: 'boot',
    message: /exit status 0 before it listened \(it printed nothing\)$/,
    hint: /^server\.js ran to its end and did not listen: it may only export the app/,
  },
  {
    name: 'an app that never listens',
    files: running('setInterval(() => undefined, 1000)', { bootTimeout: '500ms' }),
    code: 'boot_timeout',
    step: 'boot',
    message: /listened .*500 ms/,
  },
  {
    name: 'an app that answers 500 to the health check',
    files: running(
      `require('node:http')
        .createServer((q, r) => r.writeHead(500).end('<html><body><pre>Error: no <b>table</b></pre>'))
        .listen(process.env.PORT)`,
      // Long enough for a busy machine to have it listen.
      { bootTimeout: '5s' },
    ),
    code: 'health_failed',
    step: 'boot',
    message: /answered 500 to GET \/(?:.|\n)*\n {2}> Error: no table$/,
  },
  {
    name: 'an app that crashes a moment after it listens',
    files: running(
      `require('node:http').createServer((q, r) => r.end()).listen(process.env.PORT);
       setTimeout(() => process.exit(7), 1000)`,
      { settleTime: '10s' },
    ),
    code: 'settle_exited',
    step: 'boot',
    message: /exit status 7/,
  },
  {
    name: 'settings that are no settings',
    files: { ...answering('never'), 'sluice.json': { workers: 'many', spelling: 'wrong' } },
    code: 'invalid_settings',
    step: 'check',
    message: /2 faults/,
  },
  {
    name: 'nothing to run',
    files: { 'README.md': 'nothing but words' },
    code: 'nothing_to_run',
    step: 'check',
    message: /nothing to run/,
  },
  {
    name: 'a start command of another language',
    files: { ...answering('never'), 'package.json': { scripts: { start: 'python3 app.py' } } },
    code: 'unsupported_start',
    step: 'check',
    message: /python3 runs Python/,
  },
];

test('a broken release changes nothing', async (t) => {
  const sluice = await startSluice(t);
  await sluice.deploy('shop', answering('what is live'));
  const { url } = await sluice.status('shop');
  await using visitor = new Visitor(url);

  for (const { name, files, code, step, message, hint = /./ } of broken) {
    await t.test(`${name} fails with ${code}`, async () => {
      const error = await sluice.deploy('shop', files).then(
        () => assert.fail('it went live'),
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof AppError);
      assert.equal(error.code, code);
      assert.equal(error.status, 422);
      assert.match(error.message, message);
      assert.match(error.hint, hint, 'it says what to do next');

      const [release] = await sluice.releases('shop');
      assert.equal(release?.state, 'failed');
      assert.deepEqual(release.error, { ...error.toJSON(), step });
      const { release: live, workers } = await sluice.status('shop');
      assert.equal(live, 1);
      assert.ok(
        workers.every((worker) => worker.release === 1),
        'none of its workers is left',
      );
    });
  }

  const { answers, failures } = await visitor.leave();
  assert.deepEqual(failures, []);
  assert.ok(answers > 100, `${answers} requests were answered meanwhile`);
});

test('a port in the code is redirected to the port of the app, with a notice (thorough)', async (t) => {
  const sluice = await startSluice(t);
  const release = await sluice.deploy(
    'fixed',
    running(`require('node:http').createServer((q, r) => r.end('here')).listen(4321)`),
  );
  assert.deepEqual(
    release.notices.map(({ code }) => code),
    ['hardcoded_port'],
  );
  assert.equal(await sluice.get('fixed'), 'here');
});
