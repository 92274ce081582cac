import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { answering, running } from '../support/apps.ts';
import { Checkout, remoteBranches } from '../support/git.ts';
import { thorough } from '../support/tiers.ts';
import { Visitor } from '../support/visitor.ts';
import { startWithSshd } from '../support/ways.ts';
import { wholeFile } from '../support/whole-file.ts';

const { sluice, ways } = await startWithSshd(wholeFile);

for (const [way, { url, env }] of Object.entries(ways)) {
  test(`a first push over ${way} creates the app, shows the build and ends with the URL`, async (t) => {
    const app = `first-${way}`;
    const checkout = await Checkout.create(t, env);
    const commit = await checkout.commit('First version', answering('one'));
    const { code, output } = await checkout.try('push', url(app), 'main');
    assert.equal(code, 0, output);
    assert.match(
      output,
      /^release 1 of first-\w+ \(production\)\n-- receive\n {3}commit \w{10} of main by Ann: First version\n/,
    );
    assert.match(output, /\n-- switch\n/);
    assert.match(
      output,
      /\nlive: http:\/\/127\.0\.0\.1:\d+ release 1 in \d.* \(on the server only: `sluice domains add first-\w+ NAME` gives it a name\)\nTo .+\n \* \[new branch\] +main -> main\n$/,
    );
    assert.equal(await sluice.get(app), 'one');
    assert.deepEqual(await remoteBranches(checkout, url(app)), { main: commit });
    const about = (await sluice.log()).filter((line) => line['app'] === app);
    const said = about.filter(({ msg }) => msg === 'deployed' || msg === 'push accepted');
    assert.deepEqual(
      said.map(({ msg }) => msg),
      ['deployed', 'push accepted'],
    );
    assert.ok(said[0]?.['requestId'], 'the log names the request');
    assert.equal(said[1]?.['requestId'], said[0]['requestId']);
  });

  test(`the next push over ${way} lists the new commits, and so does the release${thorough(way !== 'http')}`, async (t) => {
    const app = `next-${way}`;
    const checkout = await Checkout.create(t, env);
    await checkout.commit('One', answering('one'));
    await checkout.git('push', url(app), 'main');
    const second = await checkout.commit('Two\n\nWith more to say.', answering('two'));
    const third = await checkout.commit('Three', answering('three'));
    const { output } = await checkout.try('push', url(app), 'main');
    assert.match(
      output,
      /\n {3}2 commits are new since the release that is live:\n {5}\w{10} Three\n {5}\w{10} Two\n/,
    );
    assert.equal(await sluice.get(app), 'three');
    const [release, first] = await sluice.releases(app);
    assert.ok(release && first);
    assert.deepEqual(
      [release.commit, release.branch, release.author, release.message],
      [third, 'main', 'Ann', 'Three'],
    );
    assert.equal(release.by, way === 'ssh' ? 'ssh:laptop' : 'test');
    assert.equal(release.commitCount, 2);
    assert.deepEqual(release.commits, [
      { commit: third, author: 'Ann', subject: 'Three' },
      { commit: second, author: 'Ann', subject: 'Two' },
    ]);
    assert.equal(first.commitCount, null);
  });

  test(`a failed push over ${way} is refused with step and reason, and nothing changes${thorough(way !== 'http')}`, async (t) => {
    const app = `broken-${way}`;
    const checkout = await Checkout.create(t, env);
    const good = await checkout.commit('Good', answering('good'));
    await checkout.git('push', url(app), 'main');
    await using visitor = new Visitor((await sluice.status(app)).url);
    await checkout.commit('Broken', running('throw new Error("nothing works")'));
    const { code, output } = await checkout.try('push', url(app), 'main');
    assert.equal(code, 1);
    const [, ending = ''] = /\n(failed at boot: [\s\S]*)$/.exec(output) ?? [];
    assert.match(ending, /^failed at boot: the app ended with exit status 1 before it listened\n/);
    assert.match(
      ending,
      /\n {2}The live release and the branch have not changed\.\n {2}Show the log .+\n {2}Read the last lines.+\nTo .+\n/,
    );
    assert.match(ending, /\n ! \[remote rejected\] main -> main \(pre-receive hook declined\)\n/);
    assert.match(output, /nothing works/);
    assert.deepEqual(await remoteBranches(checkout, url(app)), { main: good });
    const { answers, failures } = await visitor.leave();
    assert.deepEqual(failures, []);
    assert.ok(answers > 0);
    assert.equal(await sluice.get(app), 'good');
    const [release] = await sluice.releases(app);
    assert.deepEqual([release?.state, release?.error?.step, release?.author], ['failed', 'boot', 'Ann']);
  });

  test(`lines of a build reach the client over ${way}, mostly within 200 ms${thorough(way !== 'http')}`, async (t) => {
    const app = `ticking-${way}`;
    const checkout = await Checkout.create(t, env);
    // Each line waits until the client has seen the line before, so that one pause of the machine delays one line.
    const seen = join(sluice.home, `seen-${way}-`);
    const build = `
      const { existsSync } = require('node:fs');
      let tick = 0;
      const print = () => console.log('tick ' + tick + ' ' + Date.now());
      const timer = setInterval(() => {
        if (!existsSync(${JSON.stringify(seen)} + tick)) return;
        tick += 1;
        if (tick < 25) print();
        else clearInterval(timer);
      }, 5);
      print();
    `;
    await checkout.commit('Ticks', {
      ...answering('ticked'),
      'package.json': { name: 'app', scripts: { build: 'node build.js', start: 'node server.js' } },
      'build.js': build,
    });
    const push = checkout.start('push', url(app), 'main');
    const delays: number[] = [];
    for (let tick = 0; tick < 25; tick += 1) {
      const { text, at } = await push.until(new RegExp(`^ +tick ${tick} \\d+$`));
      delays.push(at - Number(text.split(' ').at(-1)));
      await writeFile(`${seen}${tick}`, '');
    }
    assert.equal((await push.ended).code, 0);
    // A busy machine delays some lines; a buffered stream delays every line.
    const late = delays.filter((delay) => delay > 200);
    assert.ok(late.length < delays.length / 2, `ms: ${delays.join(' ')}`);
    t.diagnostic(
      `shown after ${delays.sort((a, b) => a - b)[12]} ms (median), ${delays.at(-1)} ms (longest)`,
    );
  });

  test(`the live commit can be cloned and fetched over ${way}${thorough(way !== 'http')}`, async (t) => {
    const app = `cloned-${way}`;
    const checkout = await Checkout.create(t, env);
    const one = await checkout.commit('One', answering('one'));
    await checkout.git('push', url(app), 'main');
    const other = await Checkout.create(t, env);
    await other.git('clone', '--quiet', url(app), 'copy');
    assert.equal(await other.git('-C', 'copy', 'rev-parse', 'HEAD', 'origin/main'), `${one}\n${one}`);
    const two = await checkout.commit('Two', answering('two'));
    await checkout.git('push', url(app), 'main');
    await other.git('-C', 'copy', 'fetch', '--quiet');
    assert.equal(await other.git('-C', 'copy', 'rev-parse', 'origin/main'), two);
    // The end of a session must never look like a lost connection.
    for (let time = 0; time < 10; time += 1) {
      const { code, output } = await checkout.try('fetch', url(app));
      assert.deepEqual([code, /sluice/.test(output.replaceAll(url(app), ''))], [0, false], output);
    }
    const refs = await other.git('ls-remote', url(app));
    assert.ok(!refs.includes('refs/sluice'), 'refs of releases are hidden');
  });
}

test('a push leaves only the repository and the app behind', async (t) => {
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  await checkout.git('push', sluice.gitUrl('tidy'), 'main');
  await checkout.commit('Broken', running('process.exit(3)'));
  assert.equal((await checkout.try('push', sluice.gitUrl('tidy'), 'main')).code, 1);
  const directory = sluice.paths.app('tidy');
  assert.deepEqual((await readdir(directory)).sort(), ['production', 'repo.git']);
  assert.deepEqual(await readdir(join(directory, 'production/staging')), []);
  const objects = await readdir(join(directory, 'repo.git/objects'));
  assert.deepEqual(
    objects.filter((name) => name.includes('incoming')),
    [],
  );
});
