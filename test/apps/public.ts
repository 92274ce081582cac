import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { Checkout } from '../support/git.ts';
import { assertSameDecision, decidedBy, type Shown, shownFor } from '../support/same-decision.ts';
import { startSluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';
import { wholeFile } from '../support/whole-file.ts';
import { type PublicApp, publicApps } from './public-apps.ts';

/** URL of the repositories, each at `OWNER/NAME`; or a directory of clones, for a machine without access to it. */
const origin = process.env['SLUICE_TEST_REPOSITORIES'] ?? 'https://github.com';
const chosen = new RegExp(process.env['SLUICE_TEST_APPS'] ?? '');

const sluice = await startSluice(wholeFile);
const found: Record<string, string>[] = [];

test('of thirty public apps, at most a tenth need a setting', () => {
  assert.ok(publicApps.length >= 30, `${publicApps.length} apps`);
  const refused = publicApps.filter(({ refusal }) => refusal !== undefined);
  assert.ok(refused.length <= publicApps.length / 10, `${refused.length} of ${publicApps.length}`);
});

for (const app of publicApps.filter(({ repository }) => chosen.test(repository))) {
  test(`${app.repository} ${app.refusal === undefined ? 'is live' : 'is rejected with the next step'}, pushed as it is`, async (t) => {
    const checkout = await Checkout.create(t);
    const fetched = await checkout.try(
      'fetch',
      '--quiet',
      '--depth=1',
      `${origin}/${app.repository}`,
      app.commit,
    );
    if (fetched.code !== 0) return t.skip(`cannot be fetched: ${fetched.output.trim()}`);
    const name = nameOf(app);
    t.after(() => sluice.call('DELETE', `/v1/apps/${name}?confirm=${name}`));
    await checkout.git('checkout', '--quiet', 'FETCH_HEAD');
    const shown = await shownFor(checkout.directory, name);
    const startedAt = Date.now();
    const { code, output } = await checkout.try('push', sluice.gitUrl(name), 'FETCH_HEAD:refs/heads/main');
    const seconds = Math.round((Date.now() - startedAt) / 1000);
    found.push({ app: app.repository, needs: needsOf(output), seconds: String(seconds) });
    await assertAsShown(shown, name, { isLive: code === 0, output });
    if (app.refusal !== undefined) {
      assert.notEqual(code, 0, output);
      return assert.match(output, app.refusal);
    }
    assert.equal(code, 0, output);
    for (const [path, pattern] of Object.entries(app.answers ?? {})) {
      await waitFor(async () => pattern.test(await sluice.get(name, path)), {
        what: `${pattern} at ${path}`,
      });
    }
  });
}

/** Checks that a push has decided as `sluice check` shows for the same files. */
async function assertAsShown(
  shown: Shown,
  name: string,
  { isLive, output }: { isLive: boolean; output: string },
): Promise<void> {
  if (isLive) {
    const [latest] = await sluice.releases(name);
    const paths = sluice.paths.environment({ app: name, environment: 'production' });
    assertSameDecision(shown, await decidedBy(paths, latest?.number ?? 0));
  } else if ('error' in shown) {
    const [line = ''] = shown.error.message.split('\n');
    assert.ok(output.includes(`failed at check: ${line}`), `${line} is not in: ${output}`);
  } else assert.doesNotMatch(output, /failed at check:/);
}

after(() => {
  for (const { app, needs, seconds } of found) console.log(`${app}\t${seconds} s\t${needs}`);
});

/** Returns the name of an app on the server. */
function nameOf({ repository }: PublicApp): string {
  const name = repository.replace(/^.*\//, '').toLowerCase();
  return name.replace(/[^a-z0-9]+/g, '-').replace(/^[^a-z]+/, 'app-');
}

/** Returns what a deploy has decided for the app, from its log: how it starts, and the notes. */
function needsOf(output: string): string {
  const lines = output.split('\n').map((line) => line.trim());
  return lines
    .filter((line) => /^(?:starts with|serves|note:|\d+ worker, not|failed:)/.test(line))
    .join(' | ');
}
