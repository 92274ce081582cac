import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout } from '../support/git.ts';
import { pack } from '../support/pack.ts';
import { startSluice } from '../support/server.ts';
import { temporaryDirectory } from '../support/temporary.ts';
import { thorough } from '../support/tiers.ts';
import { writeTree } from '../support/tree.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
const env = { SLUICE_HOME: sluice.home };

/** Sequences that rename the window, clear the screen, and ask for an answer; the last one with a C1 character. */
const hostile = '\u001b]0;owned\u0007\u001b[2J\u009b6n\u0085';

/** Apps: the first two fail at `check` and at `build`, and the last goes live. */
const apps = {
  'a package.json': { ...answering('x'), 'package.json': `${hostile}{` },
  'a build that fails': withScript(
    `process.stdout.write(${JSON.stringify(hostile)} + '\\n'); process.exit(1);`,
  ),
  'a build that is live': withScript(
    `console.log(${JSON.stringify(hostile)}); console.error(${JSON.stringify(hostile)});`,
  ),
};

for (const [what, files] of Object.entries(apps)) {
  test(`${what} sends no control characters to a terminal, however the app is deployed${thorough(what !== 'a build that is live')}`, async (t) => {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, files);
    const shown: Record<string, string> = {};

    const [byCli, asJson] = [
      await cli(['deploy', directory, '--app', 'cli'], { env }),
      await cli(['deploy', directory, '--app', 'cli', '--json'], { env }),
    ];
    Object.assign(shown, { cli: byCli.stdout + byCli.stderr, json: asJson.stdout + asJson.stderr });

    const body = new Uint8Array(await pack(files));
    const upload = { method: 'POST', body, headers: { accept: 'text/plain' } };
    shown['curl'] = await (await sluice.request('/v1/apps/curl/releases', upload)).text();

    const checkout = await Checkout.create(t);
    await checkout.commit('One', files);
    shown['git'] = (await checkout.try('push', sluice.gitUrl('git'), 'main')).output;

    for (const command of [
      ['logs', 'cli', '--build', '1'],
      ['releases', 'cli', '1'],
      ['status', 'cli', '--json'],
    ]) {
      const { stdout, stderr } = await cli(command, { env });
      shown[command.join(' ')] = stdout + stderr;
    }
    for (const [way, text] of Object.entries(shown))
      assert.doesNotMatch(text, /(?![\n\t])\p{Cc}/u, `${way}: ${JSON.stringify(text)}`);
    assert.ok(shown['cli'] !== '' && shown['curl'] !== '' && shown['git'] !== '');
  });
}

test('an error that quotes the caller sends no control characters to a terminal', async () => {
  const name = encodeURIComponent(`x${hostile}`);
  const git = await (await sluice.request(`/git/${name}/info/refs?service=git-upload-pack`)).text();
  assert.match(git, /cannot be the name/);
  const { stderr } = await cli(['status', `x${hostile}`], { env });
  for (const text of [git, stderr]) assert.doesNotMatch(text, /(?![\n\t])\p{Cc}/u);
});

function withScript(code: string): Record<string, unknown> {
  return {
    ...answering('x'),
    'package.json': { scripts: { build: 'node build.cjs', start: 'node server.js' } },
    'build.cjs': code,
  };
}
