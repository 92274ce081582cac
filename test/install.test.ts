import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { defaultVersions } from '../src/build/install/versions.ts';
import { processStartTime } from '../src/system/process/processes.ts';
import { answering } from './support/apps.ts';
import { cli } from './support/cli.ts';
import { canMount } from './support/doctor.ts';
import { firstPort } from './support/free-port.ts';
import { Checkout } from './support/git.ts';
import { fetchOnce } from './support/http.ts';
import { processesOfHome, workersOfHome } from './support/processes.ts';
import { waitFor } from './support/wait.ts';

const repository = resolve(import.meta.dirname, '..');
const parts = [
  'bin',
  'libexec',
  'src',
  'examples',
  'hooks',
  'install.sh',
  'package.json',
  'package-lock.json',
];

test('what a system-wide install carries is what this version is developed with', async () => {
  const pinned = await readFile(join(repository, 'config/runtime.sha256'), 'utf8');
  const { optionalDependencies } = JSON.parse(await readFile(join(repository, 'package.json'), 'utf8'));
  for (const platform of ['linux-x64', 'linux-arm64']) {
    const version = optionalDependencies[`node-${platform}`];
    assert.match(pinned, new RegExp(`^[0-9a-f]{64}  node-${platform}-${version}\\.tgz$`, 'm'));
    assert.match(pinned, new RegExp(`^[0-9a-f]{64}  node-v${version}-${platform}\\.tar\\.gz$`, 'm'));
  }
  assert.match(pinned, new RegExp(`^[0-9a-f]{64}  npm-${defaultVersions.npm}\\.tgz$`, 'm'));
});

test('install.sh --local leaves a sample app running, does no harm when run again, and --stop ends it', async (t) => {
  const { install, home } = await checkout(t);

  const first = await install('--local');
  const url = /The sample app is live at (\S+)\n/.exec(first)?.[1] ?? '';
  assert.match(await (await fetchOnce(url)).text(), /^Hello from process \d+/);
  assert.equal(first.match(/^ {2}.*\/bin\/sluice \w+/gm)?.length, 4, 'commands to try next');

  const second = await install('--local');
  assert.match(second, /packages: already installed\nsluice: already running\nhello: already live\n/);
  assert.deepEqual(await readdir(join(home, 'apps/hello/production/releases')), ['1']);

  assert.match(
    await install('--local', '--stop'),
    /sluice: stopped.*\nStart it and its apps again: .*install\.sh --local\n$/,
  );
  await assert.rejects(fetchOnce(url));
  assert.match(await install('--local', '--stop'), /sluice: not running/);

  assert.match(await install('--local'), /sluice: starting\nhello: already live\n/);
  assert.match(await (await fetchOnce(url)).text(), /^Hello from process \d+/);
});

test('install.sh --local --stop ends all processes even if the server has just died (thorough)', async (t) => {
  const { install, root, home } = await checkout(t);
  const url = /The sample app is live at (\S+)\n/.exec(await install('--local'))?.[1] ?? '';
  const options = { binary: join(root, 'bin/sluice'), env: { SLUICE_HOME: home } };
  const { server, runner } = JSON.parse((await cli(['status', '--json'], options)).stdout);
  process.kill(server.pid, 'SIGKILL');
  assert.match(await install('--local', '--stop'), /sluice: stopped/);
  await assert.rejects(fetchOnce(url));
  assert.equal(await processStartTime(runner.pid), undefined);
  assert.equal((await cli(['status'], options)).code, 1);
});

test('install.sh --local --stop ends apps whose server and runner have died; --local names the process that has the port of an app (thorough)', async (t) => {
  const { install, home } = await checkout(t);
  const url = /The sample app is live at (\S+)\n/.exec(await install('--local'))?.[1] ?? '';
  const workers = await workersOfHome(home);
  for (const pid of await processesOfHome(home)) if (!workers.includes(pid)) process.kill(pid, 'SIGKILL');
  assert.match(await (await fetchOnce(url)).text(), /^Hello/);
  assert.match(
    await install('--local', '--stop'),
    /^sluice: not running\nsluice: ended hello, which was still running \(process [\d, ]+\)\n/,
  );
  await assert.rejects(fetchOnce(url));
  await waitFor(async () => (await processesOfHome(home)).length === 0, { what: 'no process of the home' });

  const holder = createServer().listen(Number(new URL(url).port), '127.0.0.1');
  t.after(() => holder.close());
  await once(holder, 'listening');
  await assert.rejects(install('--local'), {
    code: 1,
    stderr: new RegExp(`does not start\n  port \\d+ on 127.0.0.1 is in use by process ${process.pid} `),
  });
});

test('what install.sh says of git push works as it stands (thorough)', async (t) => {
  const { install } = await checkout(t);
  const [, lines = ''] =
    /with NAME as its name:\n([\s\S]+)Other commands:/.exec(await install('--local')) ?? [];
  const repository = await Checkout.create(t);
  await repository.commit('One', answering('by the book'));
  const script = lines.replaceAll('NAME', 'mine');
  const { stdout, stderr } = await promisify(execFile)('sh', ['-ec', script], { cwd: repository.directory });
  const [, url = ''] = /live: (\S+) release 1/.exec(stdout + stderr) ?? [];
  assert.equal(await (await fetchOnce(url)).text(), 'by the book');
});

test('an app without a package.json is not taken for a part of the checkout that Sluice runs in (thorough)', async (t) => {
  const { install, root, home } = await checkout(t);
  await install('--local');
  const bare = join(root, 'bare');
  await mkdir(bare);
  const code = "require('node:http').createServer((q, r) => r.end('bare')).listen(process.env.PORT);";
  await writeFile(join(bare, 'server.js'), code);
  const options = { binary: join(root, 'bin/sluice'), env: { SLUICE_HOME: home } };
  const { stdout, stderr } = await cli(['deploy', bare, '--app', 'bare', '--json'], options);
  assert.equal(stderr, '');
  assert.equal(await (await fetchOnce(JSON.parse(stdout).url)).text(), 'bare');
});

test('a second run, as after a reboot, starts the apps again and does not bring back a sample that was removed (thorough)', async (t) => {
  const { install, root, home } = await checkout(t);
  await install('--local');
  const options = { binary: join(root, 'bin/sluice'), env: { SLUICE_HOME: home } };
  const { stdout } = await cli(['deploy', join(root, 'examples/hello'), '--app', 'own', '--json'], options);
  assert.equal((await cli(['destroy', 'hello', '--confirm', 'hello'], options)).code, 0);
  await install('--local', '--stop');
  const again = await install('--local');
  assert.match(
    again,
    /sluice: starting\nhello: not deployed, since there are other apps\n\nDeploy an app from its git repository/,
  );
  await waitFor(async () => (await fetchOnce(JSON.parse(stdout).url).catch(() => undefined))?.ok);
  assert.equal((await cli(['status', 'hello'], options)).code, 1);
});

test('install.sh rejects unknown options with its usage and status 2, and changes nothing (thorough)', async (t) => {
  const { install } = await checkout(t);
  for (const wrong of [['--system'], ['--local', '--start'], ['--purge'], ['--listen', 'everywhere']]) {
    await assert.rejects(install(...wrong), { code: 2, stderr: /Usage: (?:\.\/)?install\.sh / });
  }
});

test('install.sh without systemd names an alternative (thorough)', {
  skip: existsSync('/run/systemd/system') || process.getuid?.() !== 0,
}, async (t) => {
  const { install } = await checkout(t);
  await assert.rejects(install('--yes'), {
    code: 1,
    stdout: 'checks\n',
    stderr: /failed at checks: this machine was not started by systemd\n {2}.*--local\n$/,
  });
});

test('install.sh verifies checksums, and requires one for http:// (thorough)', {
  skip: process.getuid?.() !== 0 || !canMount(),
}, async (t) => {
  const { root } = await checkout(t);
  const archive = join(root, 'sluice.tar.gz');
  const all = [...parts, 'config', 'docs', '.npmrc', 'README.md', 'CHANGELOG.md', 'LICENSE'];
  await promisify(execFile)('tar', [
    '-czf',
    archive,
    '-C',
    repository,
    '--transform',
    's,^,sluice/,',
    ...all,
  ]);
  const content = await readFile(archive);
  let asked = 0;
  const server = createServer((_, response) => {
    asked += 1;
    response.end(content);
  }).listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/sluice.tar.gz`;
  // A machine that systemd has started, for as long as it takes to look.
  const script = `mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system; exec "$1" --dry-run`;
  const dryRun = async (source: string, sum: string) => {
    const env = { ...process.env, SLUICE_SOURCE: source, SLUICE_SHA256: sum };
    const argv = ['--mount', 'sh', '-ec', script, 'sh', join(repository, 'install.sh')];
    const outcome = promisify(execFile)('unshare', argv, { env });
    return outcome.catch((error: { stdout: string; stderr: string }) => error);
  };
  const right = createHash('sha256').update(content).digest('hex');
  const wrong = 'a'.repeat(64);
  assert.match((await dryRun(url, '')).stderr, /is unencrypted, so anybody on the way could change/);
  assert.equal(asked, 0);
  for (const source of [url, archive]) {
    assert.match(
      (await dryRun(source, wrong)).stderr,
      /the checksum of .* differs from SLUICE_SHA256\n {2}Nothing was/,
    );
    assert.match((await dryRun(source, right)).stdout, /^source: .*\n {2}version \d+\.\d+/m);
  }
  assert.equal(asked, 2);
  assert.match((await dryRun(root, right)).stderr, /requires a \.tar\.gz file, and .* is not one/);
});

/** Real outputs of programs that failed, and the cause that install.sh prints. */
const causes: [output: string, cause: RegExp][] = [
  [
    'E: Release file for http://deb.example.org/debian/dists/bookworm/InRelease is not valid yet (invalid for another 1859d 8h 59min 14s).',
    /this machine's clock: \d{4}-\d\d-\d\d \d\d:\d\d UTC\. If that is wrong: timedatectl/,
  ],
  ['curl: (60) SSL certificate problem: certificate has expired', /this machine's clock/],
  ['npm error code CERT_NOT_YET_VALID', /this machine's clock/],
  ['curl: (60) SSL certificate problem: unable to get local issuer certificate', /update-ca-certificates/],
  ['npm error code SELF_SIGNED_CERT_IN_CHAIN', /NODE_EXTRA_CA_CERTS/],
  [
    "  Temporary failure resolving 'deb.example.org'\nE: Unable to locate package git",
    /^The name of a server cannot/,
  ],
  ['curl: (6) Could not resolve host: nodejs.org', /^The name of a server cannot be resolved/],
  ['npm error code EAI_AGAIN', /^The name of a server cannot be resolved/],
  [
    'Cannot initiate the connection to deb.example.org:80 (2a04:4e42::644). - connect (101: Network is unreachable) Could not connect to deb.example.org:80 (151.101.2.132), connection timed out',
    /^A server did not answer\. The proxy is http:\/\/proxy:3128\.$/,
  ],
  ['curl: (7) Failed to connect to 10.0.0.1 port 443: Connection refused', /^A server did not answer\./],
  [
    'curl: (7) Failed to connect to nodejs.org port 443: Network is unreachable',
    /^This machine has no route/,
  ],
  ['curl: (56) CONNECT tunnel failed, response 407', /^The proxy requires a name and a password/],
  ['curl: (22) The requested URL returned error: 404', /^A server does not have the requested file/],
  ['npm error code E403', /^A server denied access/],
  ['npm error nospc ENOSPC: no space left on device, write', /^The disk is full/],
  ["cp: error writing '/opt/sluice/.new-1/src': No space left on device", /^The disk is full/],
  [
    "mkdir: cannot create directory '/opt/sluice': Read-only file system",
    /^A file system is mounted read-only/,
  ],
  ['E: dpkg was interrupted, you must manually run', /dpkg --configure -a/],
  [
    'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1 (apt)',
    /^Another apt is running/,
  ],
  ['FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory', /^Memory ran out/],
  ['E: Unable to locate package git', /^The sources of apt .* lack a package/],
  ['something else', /^$/],
];

test('install.sh explains failures of programs, without the password of a proxy', async () => {
  const script = await readFile(join(repository, 'install.sh'), 'utf8');
  const functions = script.replace(/^main "\$@"$/m, 'cause_in "$OUTPUT"');
  for (const [output, cause] of causes) {
    const env = {
      PATH: process.env['PATH'],
      LC_ALL: 'C',
      https_proxy: 'http://ann:secret@proxy:3128',
      OUTPUT: output,
    };
    const { stdout } = await promisify(execFile)('sh', ['-c', `temporary=; ${functions}`], { env });
    assert.match(stdout.trim(), cause, output);
    assert.doesNotMatch(stdout, /secret/);
  }
});

/**
 * A checkout of its own, on ports of its own. Its node_modules holds links to the packages that are there, and is
 * newer than the lockfile: as npm leaves it. No npm is sure to have made a .bin/node in it.
 */
async function checkout(t: TestContext) {
  const root = await mkdtemp(join(tmpdir(), 'sluice-test-'));
  const home = join(root, 'state');
  for (const part of parts) await cp(join(repository, part), join(root, part), { recursive: true });
  await mkdir(join(root, 'node_modules'));
  for (const name of await readdir(join(repository, 'node_modules'))) {
    if (name.startsWith('.')) continue;
    await symlink(join(repository, 'node_modules', name), join(root, 'node_modules', name));
  }
  await writeFile(join(root, 'node_modules/.package-lock.json'), '{}');
  await mkdir(home);
  const settings = {
    listen: { port: 0 },
    apps: { firstPort: await firstPort() },
    ssh: { authorizedKeys: join(home, 'authorized_keys') },
  };
  await writeFile(join(home, 'config.json'), JSON.stringify(settings));
  const install = async (...options: string[]) => {
    const env = { ...process.env, SLUICE_HOME: home };
    return (await promisify(execFile)(join(root, 'install.sh'), options, { env })).stdout;
  };
  t.after(async () => {
    await install('--local', '--stop');
    await rm(root, { recursive: true, force: true });
  });
  return { install, root, home };
}
