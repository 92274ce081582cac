import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, readlink, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import { waitFor } from '../support/wait.ts';

/** Writes what its process has inherited to `data/NAME.json`. */
const report = `
const fs = require('node:fs');
const links = {};
for (const fd of fs.readdirSync('/proc/self/fd')) {
  try { links[fd] = fs.readlinkSync('/proc/self/fd/' + fd); } catch {}
}
const name = process.argv[2] ?? 'worker';
fs.mkdirSync('data', { recursive: true });
fs.writeFileSync('data/' + name + '.new', JSON.stringify({ links, env: process.env, umask: process.umask() }));
fs.renameSync('data/' + name + '.new', 'data/' + name + '.json');
if (name === 'beside') setInterval(() => undefined, 1000);
`;

/** Default directory of npm for compiled code. */
const cache = '/tmp/node-compile-cache';

interface Inherited {
  /** target of each descriptor, by its number */
  links: Record<string, string>;
  env: Record<string, string>;
  umask: number;
}

test('processes of an app inherit no open file and no secret of Sluice; installations read nothing in /tmp', {
  skip: withoutRoot,
  timeout: 120_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  // Whoever makes this directory first decides who can write in it.
  await mkdir(cache, { recursive: true });
  const { mode } = await stat(cache);
  await chmod(cache, 0o1777);
  t.after(() => chmod(cache, mode));
  const caches = async () => (await readdir(cache)).filter((name) => name.endsWith(`-${isolated.uid}`));
  for (const name of await caches()) await rm(join(cache, name), { recursive: true });
  // npm has such a cache from Node.js 22 on.
  await sluice.kill();
  await sluice.up({ HOME: sluice.home, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` });
  const run = (name: string) => `node report.cjs ${name}`;
  await sluice.deploy('shop', {
    'package.json': {
      name: 'shop',
      private: true,
      packageManager: 'npm@11.19.1',
      scripts: { build: run('build') },
    },
    'sluice.json': {
      shared: ['data'],
      settleTime: 100,
      workers: 1,
      hooks: { preSwitch: run('hook') },
      processes: { beside: run('beside') },
      cron: [{ name: 'often', schedule: '* * * * * *', command: run('cron') }],
    },
    'report.cjs': report,
    'server.js': `${report}require('node:http').createServer((_, answer) => answer.end()).listen(process.env.PORT);`,
  });
  assert.deepEqual(await caches(), [], 'npm of the server has kept compiled code in /tmp');

  const target = sluice.paths.environment({ app: 'shop', environment: 'production' });
  const ids = await idsOf(`${owner}_shop`);
  const release = target.release(1).directory;
  const ours = new Set([...(await links(isolated.runner.pid)), ...(await links(sluice.pid))]);
  // Whoever runs the tests may have left files open; and anonymous inodes have no names of their own.
  for (const link of [...(await links(process.pid)), '/dev/null']) ours.delete(link);
  for (const [name, directory] of Object.entries({
    build: join(release, 'data'),
    hook: target.shared,
    beside: target.shared,
    cron: target.shared,
    worker: target.shared,
  })) {
    const file = await waitFor(
      async () => {
        for (const path of [join(directory, `${name}.json`), join(target.shared, 'data', `${name}.json`)]) {
          const text = await readFile(path, 'utf8').catch(() => undefined);
          if (text !== undefined) return text;
        }
        return undefined;
      },
      { what: `the report of ${name}` },
    );
    const inherited: Inherited = JSON.parse(file);
    // For a moment, the runner also has the other ends of the standard streams of a process that it starts.
    const both = Object.entries(inherited.links)
      .filter(([fd, link]) => Number(fd) > 2 && ours.has(link) && !link.startsWith('anon_inode:'))
      .map(([, link]) => link);
    // A worker has the socket of the app's port, and both ends of the handoff.
    const meant = name === 'worker' ? /^socket:|^\/.*\/run\/outputs\// : /^\/.*\/run\/outputs\//;
    assert.deepEqual(
      both.filter((link) => !meant.test(link)),
      [],
      name,
    );
    if (name === 'worker') assert.equal(new Set(both.filter((link) => link.startsWith('socket:'))).size, 3);
    const own = new RegExp(
      `^(?:anon_inode:|pipe:|socket:|/dev/|/proc/|${release}/|${target.shared}/|/.*/run/outputs/)`,
    );
    assert.deepEqual(
      Object.values(inherited.links).filter((link) => !own.test(link)),
      [],
      name,
    );
    assert.equal(inherited.umask, 0o022, name);
    assert.equal(inherited.env['TMPDIR'], target.temporary, name);
    assert.equal(inherited.env['HOME'], target.home, name);
    const foreign = Object.keys(inherited.env).filter((variable) =>
      /^(?:NODE_(?:OPTIONS|PATH|COMPILE_CACHE)|NOTIFY_SOCKET|LISTEN_|CREDENTIALS|SLUICE_(?:HOME|TOKEN|URL))/.test(
        variable,
      ),
    );
    assert.deepEqual(foreign, [], name);
  }
  assert.ok(ids.uid > 0);
});

async function links(pid: number | undefined): Promise<string[]> {
  const directory = `/proc/${pid}/fd`;
  const found = await Promise.all(
    (await readdir(directory)).map((fd) => readlink(join(directory, fd)).catch(() => undefined)),
  );
  return found.filter((link) => link !== undefined);
}
