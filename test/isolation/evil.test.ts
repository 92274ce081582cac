import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { AppError } from '../../src/errors/app-error.ts';
import { protocolVersion } from '../../src/protocol/version.ts';
import { appLog } from '../support/app-log.ts';
import { Checkout } from '../support/git.ts';
import { Isolated, withoutRoot } from '../support/isolated.ts';
import type { Files } from '../support/pack.ts';
import type { Sluice } from '../support/server.ts';
import { waitFor } from '../support/wait.ts';

const secret = 'the-secret-of-the-shop';

/** App that answers, with a variable, shared data and a log. */
const shop: Files = {
  'sluice.json': { shared: ['data'], settleTime: 100, workers: 1 },
  'server.js': `
    require('node:fs').writeFileSync('data/customers', '${secret}');
    require('node:fs').writeFileSync('own', '${secret}');
    console.log('${secret}'.split('').reverse().join(''));
    require('node:http').createServer((_, response) => response.end('shop')).listen(process.env.PORT);`,
};

/** App that runs the code of each request. */
const evil: Files = {
  'sluice.json': { shared: ['data'], settleTime: 100, workers: 1, minUptime: 0 },
  'server.js': `
    const Code = (async () => {}).constructor;
    require('node:http').createServer((request, response) => {
      let code = '';
      request.on('data', (chunk) => { code += chunk; });
      request.on('end', async () => {
        const answer = await new Code('require', code)(require).then(
          (value) => ({ got: String(value) }),
          (error) => ({ code: error.code ?? String(error) }),
        );
        response.end(JSON.stringify(answer));
      });
    }).listen(process.env.PORT);`,
};

/** Returns the result of code that runs in the evil app. */
async function attempt(sluice: Sluice, code: string): Promise<{ got?: string; code?: string }> {
  const { url } = await sluice.status('evil');
  const answer = await fetch(url, { method: 'POST', body: code, headers: { connection: 'close' } });
  return (await answer.json()) as { got?: string; code?: string };
}

const denied = (code: string | undefined) => ['EACCES', 'EPERM'].includes(code ?? '');

test('an app cannot read or change files of another app or of Sluice', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { paths } = sluice;
  const checkout = await Checkout.create(t);
  await checkout.commit('First', shop);
  await checkout.git('push', sluice.gitUrl('shop'), 'main');
  await sluice.call('PATCH', '/v1/apps/shop/env', { SECRET: secret });
  await sluice.deploy('evil', evil);
  const [theirs, own] = ['shop', 'evil'].map((app) =>
    paths.environment({ app, environment: 'production' }),
  ) as [ReturnType<typeof paths.environment>, ReturnType<typeof paths.environment>];
  const { workers } = await sluice.status('shop');
  const victim = workers[0]?.pid ?? 0;
  const release = theirs.release(1);
  await waitFor(async () => (await appLog(theirs.logs)).length > 0);

  const files = [
    join(release.directory, 'server.js'),
    join(release.directory, 'own'),
    release.record,
    release.buildLog,
    join(paths.repository('shop'), 'HEAD'),
    theirs.env,
    theirs.state,
    theirs.generation,
    join(theirs.logs, 'app.log'),
    join(theirs.shared, 'data/customers'),
    paths.settings,
    paths.tokens,
    paths.events,
    paths.log,
    own.env,
    own.state,
    own.release(1).record,
    join(own.logs, 'app.log'),
    `/proc/${victim}/environ`,
    `/proc/${victim}/mem`,
    `/proc/${victim}/cwd/server.js`,
    `/proc/${victim}/fd/1`,
    `/proc/${isolated.runner.pid}/environ`,
    `/proc/${sluice.pid}/environ`,
    '/etc/shadow',
  ];
  const directories = [
    paths.home,
    paths.apps,
    paths.app('shop'),
    paths.repository('shop'),
    theirs.directory,
    theirs.releases,
    release.directory,
    theirs.shared,
    theirs.logs,
    theirs.home,
    theirs.temporary,
    own.logs,
    own.release(1).records,
    paths.run,
    paths.processes,
    paths.outputs,
    `/proc/${victim}/fd`,
  ];
  const quoted = (path: string) => JSON.stringify(path);
  const attempts = new Map<string, string>();
  for (const path of files)
    attempts.set(`reads ${path}`, `return require('fs').readFileSync(${quoted(path)}, 'latin1')`);
  for (const path of directories)
    attempts.set(`lists ${path}`, `return require('fs').readdirSync(${quoted(path)})`);
  for (const path of [paths.serverSocket, paths.runnerSocket, paths.sshSocket]) {
    attempts.set(
      `connects to ${path}`,
      `return new Promise((resolve, reject) => require('net').connect(${quoted(path)}, resolve).on('error', reject))`,
    );
  }
  for (const pid of [victim, sluice.pid, isolated.runner.pid])
    attempts.set(`ends ${pid}`, `process.kill(${pid}, 'SIGKILL')`);
  const { records, directory: tree } = own.release(1);
  const written = [
    join(records, 'release.json'),
    join(records, 'new'),
    own.generation,
    own.cron,
    join(own.directory, 'new'),
    join(own.releases, '99'),
    join(own.staging, '99'),
    join(own.logs, 'app.log'),
    join(own.logs, 'new'),
    join(paths.run, 'new'),
    join(paths.home, 'new'),
    join(paths.tools, 'new'),
    join(paths.cache, 'new'),
    join(paths.apps, 'package.json'),
    join(paths.app('evil'), 'new'),
    join(theirs.shared, 'data/new'),
  ];
  for (const path of written)
    attempts.set(`writes ${path}`, `require('fs').writeFileSync(${quoted(path)}, 'x')`);
  const renamed = [
    records,
    own.shared,
    own.current,
    own.releases,
    tree,
    own.logs,
    paths.orphanSocket,
    paths.serverSocket,
    paths.run,
  ];
  for (const path of renamed)
    attempts.set(`moves ${path}`, `require('fs').renameSync(${quoted(path)}, ${quoted(`${path}-moved`)})`);
  for (const path of [own.generation, own.current, own.env, paths.orphanSocket])
    attempts.set(`removes ${path}`, `require('fs').rmSync(${quoted(path)})`);
  attempts.set('puts its own records in the place of ours', `require('fs').rmdirSync(${quoted(records)})`);
  attempts.set('opens its release to others', `require('fs').chmodSync(${quoted(tree)}, 0o777)`);
  attempts.set('becomes root', 'process.setuid(0)');
  attempts.set('becomes the server', `process.setuid(${isolated.uid})`);
  attempts.set('takes a group', `process.setgroups([${isolated.gid}])`);

  const successes: string[] = [];
  for (const [what, code] of attempts) {
    const answer = await attempt(sluice, code);
    // What cannot be told to be there is as good as what cannot be read.
    if (!denied(answer.code) && answer.code !== 'ENOENT')
      successes.push(`${what}: ${JSON.stringify(answer)}`);
  }
  assert.deepEqual(successes, []);
  assert.ok(
    (await attempt(sluice, `return require('fs').readFileSync('server.js', 'utf8')`)).got,
    'it can read its own',
  );

  await t.test('an app cannot report as a worker of another app', async () => {
    const forged = {
      type: 'orphan',
      version: protocolVersion,
      key: 'shop',
      generation: 1,
      release: 1,
      pid: victim,
    };
    for (const line of [
      JSON.stringify({ ...forged, secret: 'a guess' }),
      JSON.stringify(forged),
      JSON.stringify({ ...forged, key: 'evil', secret: 7 }),
      JSON.stringify({ ...forged, pid: '../../../tokens' }),
      '{"type":"retired"}',
      'no JSON',
      'null',
      'x'.repeat(1024 ** 2),
    ]) {
      const code = `return new Promise((resolve) => {
        const socket = require('net').connect(${quoted(paths.orphanSocket)}, () => socket.write(${quoted(line)} + '\\n'));
        socket.on('data', (text) => resolve('told ' + text)).on('error', () => undefined).on('close', () => resolve('hung up on'));
      })`;
      assert.deepEqual(await attempt(sluice, code), { got: 'hung up on' }, line.slice(0, 80));
    }
    const waiting = `const sockets = Array.from({ length: 300 }, () => require('net').connect(${quoted(paths.orphanSocket)}).on('error', () => undefined));
      await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve))));
      return 'all hung up on'`;
    assert.deepEqual(await attempt(sluice, waiting), { got: 'all hung up on' });
  });

  await t.test(
    'nor does it end the runner by what it writes into the channel that it has to it',
    async () => {
      const said = [
        'garbage',
        '{"cmd":"NODE_HANDLE_ACK"}',
        '{"cmd":"NODE_HANDLE","type":"x"}',
        '{"cmd":"NODE_HANDLE","type":"net.Native","msg":{"cmd":"NODE_SLUICE","body":{"type":"connection","connection":1}}}',
        '{"cmd":"NODE_SLUICE"}',
        '{"cmd":"NODE_SLUICE","body":{"type":"connection","connection":1}}',
        '{"cmd":"NODE_SLUICE","body":{"type":"ready","port":"/etc/passwd","listens":1,"protocol":"http"}}',
        'x'.repeat(64 * 1024),
      ];
      for (const text of said) {
        const [before] = (await sluice.status('evil')).workers;
        // The worker is ended for it, and so is the answer.
        await attempt(
          sluice,
          `const { fstatSync, readlinkSync, writeSync } = require('fs');
        const channel = [3, 4, 5, 6, 7, 8].find((fd) => readlinkSync('/proc/self/fd/' + fd).startsWith('socket:'));
        writeSync(channel, ${quoted(text)} + '\\n');
        await new Promise(() => setInterval(() => undefined, 1000))`,
        ).catch(() => undefined);
        await waitFor(
          async () => {
            const [now] = (await sluice.status('evil')).workers;
            return now !== undefined && now.pid !== before?.pid && now.state === 'open';
          },
          { what: `another worker after ${text.slice(0, 60)}` },
        );
      }
      assert.equal(isolated.runner.signalCode, null);
      const ended = (await appLog(own.logs)).filter(({ text }) =>
        text.includes("wrote into Sluice's channel"),
      );
      assert.equal(ended.length, said.length);
    },
  );

  assert.equal(await sluice.get('shop'), 'shop');
  assert.deepEqual(
    (await sluice.status('shop')).workers.map(({ pid }) => pid),
    [victim],
  );
  assert.equal(isolated.runner.exitCode, null);
});

test('an app cannot make the server read, write or remove files of others (thorough)', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  const { paths } = sluice;
  await sluice.deploy('shop', shop);
  await sluice.deploy('evil', evil);
  const before = { home: await readdir(paths.home), tokens: await readFile(paths.tokens, 'utf8') };
  const own = paths.environment({ app: 'evil', environment: 'production' });
  const { tokens } = paths;

  /** Deploys with hooks. @returns why it failed, all that was told of it included */
  const fails = async (
    hooks: Record<string, string>,
    settings: object = {},
    files: Files = {},
  ): Promise<string> => {
    const all = { 'package.json': { scripts: { start: 'node server.js' } }, ...evil, ...files };
    const sent = { ...all, 'sluice.json': { settleTime: 100, workers: 1, hooks, ...settings } };
    const error = await sluice.deploy('evil', sent).then(
      () => assert.fail('it went live'),
      (error: AppError) => error,
    );
    const [newest] = await sluice.releases('evil');
    const log = await (await sluice.request(`/v1/apps/evil/releases/${newest?.number}/log`)).text();
    const text = `${error.code} ${error.message} ${error.hint} ${log}`;
    const hashes = JSON.parse(before.tokens).tokens as Record<string, string>[];
    for (const value of hashes.flatMap(Object.values)) {
      if (String(value).length > 12) assert.ok(!text.includes(String(value)), `tells ${value}`);
    }
    return text;
  };

  for (const hook of ['preBuild', 'postBuild']) {
    assert.match(
      await fails({ [hook]: `ln -sf ${tokens} package.json` }),
      /invalid_settings package.json is a link to a file outside/,
    );
    assert.match(
      await fails({ [hook]: 'rm package.json; mkfifo package.json' }),
      /invalid_settings package.json is not a file/,
    );
    assert.match(
      await fails({ [hook]: 'chmod 0 package.json' }),
      /invalid_settings package.json cannot be read/,
    );
  }
  const build = { 'package.json': { scripts: { build: 'true', start: 'node server.js' } } };
  assert.match(
    await fails({ preBuild: `ln -s ${tokens} package-lock.json` }, {}, build),
    /unsupported_package_manager package-lock.json is a link/,
  );
  assert.equal(await readFile(tokens, 'utf8'), before.tokens);

  await t.test('with links at shared paths', async () => {
    const links = `const fs = require('fs');
      fs.symlinkSync(${JSON.stringify(paths.home)}, ${JSON.stringify(join(own.shared, 'home'))});
      fs.symlinkSync(${JSON.stringify(paths.environment({ app: 'shop', environment: 'production' }).shared)}, 'theirs');`;
    assert.deepEqual(await attempt(sluice, links), { got: 'undefined' });
    assert.match(
      await fails({}, { shared: ['home/new', 'data'] }),
      /invalid_settings "shared" has home\/new/,
    );
    await sluice.deploy('evil', {
      ...evil,
      'theirs/x': '',
      'sluice.json': { shared: ['theirs/data'], settleTime: 100, workers: 1 },
    });
    assert.deepEqual(await attempt(sluice, `return require('fs').readdirSync('theirs/data')`), { got: '' });
    await attempt(sluice, `require('fs').symlinkSync(${JSON.stringify(tokens)}, 'tokens.db')`);
    await sluice.deploy('evil', {
      ...evil,
      'sluice.json': { shared: ['tokens.db'], settleTime: 100, workers: 1 },
    });
    const read = await attempt(sluice, `return require('fs').readFileSync('tokens.db', 'utf8')`);
    assert.equal(read.code, 'ENOENT');
  });

  await t.test('with changes in a tree while the server removes it', async () => {
    const swap = `while :; do rm -rf x; mkdir -p x/y/z; touch x/y/z/f; rm -rf x; ln -s ${paths.home} x; rm x; ln -s ${paths.apps} x; done`;
    // It leaves the session of the job, and all that would tell that it came from it.
    const hook = `setsid env -i /bin/sh -c '${swap}' > /dev/null 2>&1 & sleep 0.3; exit 3`;
    for (let round = 0; round < 4; round += 1) assert.match(await fails({ preBuild: hook }), /hook_failed/);
    await fails({
      preBuild: `ln -s ${paths.home} home; ln -s ${paths.apps} .apps; mkdir -p a/b; chmod 0 a/b; chmod 0 a; exit 3`,
    });
  });

  await sluice.call('DELETE', '/v1/apps/evil?confirm=evil');
  assert.deepEqual(await isolated.users(), [`${isolated.owner}_shop`]);
  assert.deepEqual(await readdir(paths.home), before.home);
  assert.equal(await readFile(tokens, 'utf8'), before.tokens);
  assert.equal(await sluice.get('shop'), 'shop');
});

test('an app that kills its killers is removed all the same (thorough)', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  // All but itself, in a session of its own, so that the end of its worker does not take it along.
  const stops = `const fs = require('node:fs');
    for (;;) for (const pid of fs.readdirSync('/proc')) {
      if (!/^\\d+$/.test(pid) || Number(pid) === process.pid) continue;
      try {
        if (fs.readFileSync('/proc/' + pid + '/comm', 'utf8') === 'sh\\n') process.kill(Number(pid), 'SIGSTOP');
      } catch {}
    }`;
  await sluice.deploy('evil', {
    'sluice.json': { settleTime: 100, workers: 1 },
    'server.js': `
      require('node:child_process').spawn(process.execPath, ['-e', ${JSON.stringify(stops)}], { detached: true, stdio: 'ignore', env: {} }).unref();
      require('node:http').createServer((_, response) => response.end('x')).listen(process.env.PORT);`,
  });
  await sluice.call('DELETE', '/v1/apps/evil?confirm=evil');
  assert.deepEqual(await isolated.users(), []);
});
