import assert from 'node:assert/strict';
import { suite, type TestContext, test } from 'node:test';
import { type Evaluated, evaluate, type RunEvaluation } from '../../../src/build/pm2/evaluation.ts';
import { evaluateIn } from '../../../src/cli/preview/evaluate.ts';
import { hostileFiles } from '../../support/hostile-pm2.ts';
import { processesOfHome } from '../../support/processes.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { writeTree } from '../../support/tree.ts';
import { waitFor } from '../../support/wait.ts';

async function evaluateText(t: TestContext, file: string, text: string) {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, { [file]: text });
  return await evaluateFile(directory, file);
}

function evaluateFile(directory: string, file: string, isEndless = false) {
  const run = evaluateIn(directory, { NODE_ENV: 'production', OWN: 'value' });
  const runShorter: RunEvaluation = (job) => run({ ...job, timeout: 1000 });
  return evaluate({ file, directory: '', env: 'production' }, isEndless ? runShorter : run);
}

suite('the value of a file of PM2', () => {
  const apps = { apps: [{ name: 'web', script: './server.js' }] };
  const texts: Record<string, string> = {
    'ecosystem.config.js': `module.exports = ${JSON.stringify(apps)}`,
    'ecosystem.config.cjs': `exports.apps = ${JSON.stringify(apps.apps)}`,
    'ecosystem.config.mjs': `export default ${JSON.stringify(apps)}`,
    'pm2.config.js': `export const apps = await Promise.resolve(${JSON.stringify(apps.apps)})`,
    'ecosystem.config.ts': `const apps: object[] = ${JSON.stringify(apps.apps)}; export default { apps };`,
    'process.json': `{ apps: [{ name: 'web', script: './' + 'server.js' /* PM2 evaluates it */ }] }`,
    'process.yml': 'common: &common\n  name: web\napps:\n  - <<: *common\n    script: ./server.js\n',
  };
  for (const [file, text] of Object.entries(texts)) {
    test(file, async (t) => {
      const { value } = (await evaluateText(t, file, text)) as { value: object };
      assert.deepEqual({ ...value, common: undefined }, { ...apps, common: undefined });
    });
  }

  test('depends on the variables of the environment, not on those of Sluice', async (t) => {
    process.env['SECRET_OF_SLUICE'] = 'x';
    const text = `const { env, argv } = process;
      module.exports = { own: env.OWN, mode: env.NODE_ENV, secret: env.SECRET_OF_SLUICE ?? null, argv: argv.slice(2),
        directory: require('path').basename(__dirname) === require('path').basename(process.cwd()) };`;
    const found = await evaluateText(t, 'ecosystem.config.js', text);
    delete process.env['SECRET_OF_SLUICE'];
    assert.deepEqual(found, {
      value: {
        ...{ own: 'value', mode: 'production', secret: null, directory: true },
        argv: ['start', 'ecosystem.config.js', '--env', 'production'],
      },
    });
  });

  test('leaves out what JSON has no form for', async (t) => {
    const text = `const app = { script: 'a', f() {}, r: /x/, big: 1n, s: Symbol(), n: NaN, none: undefined, nil: null,
        date: new Date(0), list: [1, undefined, 'b'], get bad() { return 1; } };
      app.self = app;
      module.exports = app;`;
    assert.deepEqual(await evaluateText(t, 'ecosystem.config.js', text), {
      value: { script: 'a', nil: null, date: '1970-01-01T00:00:00.000Z', list: [1, null, 'b'], bad: 1 },
    });
  });

  test('names the package that the file misses', async (t) => {
    for (const text of [`require('dotenv').config()`, `import 'dotenv/config'`]) {
      const found = await evaluateText(t, 'ecosystem.config.js', text);
      assert.ok('missing' in found);
      assert.match(found.missing, /^dotenv(?:\/config)?$/);
      assert.match(
        found.error.message,
        /^ecosystem\.config\.js fails.*Cannot find (?:module|package) 'dotenv/,
      );
    }
  });
});

suite('a hostile file of PM2 is bounded, and leaves nothing', { concurrency: 2 }, () => {
  for (const [title, { file = 'ecosystem.config.js', text, error, isEndless }] of Object.entries(
    hostileFiles,
  )) {
    test(title, async (t) => {
      process.env['SECRET_OF_SLUICE'] = 'x';
      const directory = await temporaryDirectory(t);
      await writeTree(directory, { [file]: text });
      const found = evaluateFile(directory, file, isEndless);
      if (error === undefined) {
        const { value } = (await found) as { value: { apps: object[] } };
        assert.deepEqual(value.apps, [{ name: 'web', script: 'server.js' }]);
      } else await assert.rejects(found.then(failIfMissing), { code: 'invalid_pm2_file', message: error });
      await waitFor(async () => (await processesOfHome(directory)).length === 0, {
        what: 'the end of all processes',
      });
    });
  }
});

function failIfMissing(found: Evaluated) {
  if ('missing' in found) throw found.error;
}

const forge = (
  value: string,
) => `const words = require('fs').readFileSync('/proc/self/cmdline', 'utf8').split('\\0');
  const mark = words.find((word) => /^[0-9a-f-]{36}$/.test(word));
  require('fs').writeSync(3, '\\n' + mark + ${value} + '\\n');
  process.reallyExit(0);`;

suite('a file of PM2 that writes a result of its own', () => {
  const forged: Record<string, string> = {
    'too deep': `'{"value":{"apps":[{"script":"a.js","env":{"A":' + '['.repeat(200000) + ']'.repeat(200000) + '}}]}}'`,
    'with too many parts': `'{"value":[' + '1,'.repeat(30000) + '1]}'`,
    'with too long texts': `'{"value":["' + 'x'.repeat(200000) + '"]}'`,
    'with a name that has a meaning': `'{"value":{"__proto__":{"apps":[]}}}'`,
  };
  for (const [title, value] of Object.entries(forged)) {
    test(`${title} is rejected`, async (t) => {
      const error = { code: 'invalid_pm2_file', message: /too large or too deep/ };
      await assert.rejects(evaluateText(t, 'ecosystem.config.js', forge(value)), error);
    });
  }

  test('cannot make an error long', async (t) => {
    const texts = [
      `'{"failed":"' + 'x'.repeat(200000) + '"}'`,
      `'{"unusable":"' + 'x'.repeat(200000) + '"}'`,
    ];
    for (const value of texts) {
      const isShort = (error: Error) => error.message.length < 2000;
      await assert.rejects(evaluateText(t, 'ecosystem.config.js', forge(value)), isShort);
    }
  });
});

test('a process that hides and keeps the output open does not hold up `sluice check`', {
  timeout: 60_000,
}, async (t) => {
  const directory = await temporaryDirectory(t);
  await writeTree(directory, {
    'ecosystem.config.js': `const { spawn } = require('child_process');
      const stdio = ['ignore', 'ignore', 'ignore', 3];
      const { pid } = spawn('env', ['-i', 'sleep', '1000'], { detached: true, stdio });
      module.exports = { apps: [{ script: 'a.js', pid }] };`,
  });
  const found = (await evaluateFile(directory, 'ecosystem.config.js')) as {
    value: { apps: { pid: number }[] };
  };
  const [app] = found.value.apps;
  assert.ok(app !== undefined);
  // It hides from `sluice check`, and still runs.
  process.kill(app.pid, 'SIGKILL');
});
