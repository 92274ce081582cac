import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '../support/wait.ts';
import { Appliance } from './support/appliance.ts';
import { expressApp } from './support/apps.ts';
import { Attacker } from './support/attacker.ts';
import { suites } from './support/cache.ts';
import type { Guest } from './support/guest.ts';
import { GuestLoad } from './support/guest-load.ts';
import { installedGuest } from './support/installed.ts';
import { Lasting } from './support/lasting.ts';
import { copyProjectAs, projectVersion } from './support/project.ts';

const app = resolve(import.meta.dirname, '../fixtures/apps/plain.cjs');

for (const suite of suites) {
  test(`${suite}: an upgrade, the way back, and one to a version that does not start lose no request, nor do replacements of the runner`, async (t) => {
    const guest = await installedGuest(t, suite);
    const appliance = new Appliance(guest);
    const files = { 'server.js': await readFile(app, 'utf8'), 'sluice.json': { workers: 2 } };
    await appliance.deploy('shop', files);
    await appliance.deploy('blog', expressApp('blog'));
    const attacker = await Attacker.start(appliance);
    const { port } = await appliance.status('shop');
    const load = await GuestLoad.start(guest, port);
    const lasting = await Lasting.begin(appliance, 'lasting');
    const [first] = (await appliance.status('lasting')).workers;
    await replaceRunner(appliance, 'USR2');
    assert.equal(await restarts(appliance), 'server and runner have not died in the last 7 days');
    for (const signal of ['KILL', 'USR2']) await replaceRunner(appliance, signal);
    assert.match(await restarts(appliance), /^the runner died in the last 7 days, on .*: killed by SIGKILL$/);
    const filesBefore = await filesOfOthers(guest);
    const version = () => guest.exec('sluice --version');
    const old = await version();
    assert.equal(old.trim(), await projectVersion());

    await copyProjectAs('7.7.7', join(guest.root, 'root/later'));
    await guest.exec('echo "# Not the one before." >>later/install.sh && tar -czf later.tar.gz later');
    assert.match(await appliance.sluice('upgrade --to /root/later.tar.gz'), /its own install\.sh/);
    assert.equal(await version(), '7.7.7\n');
    assert.equal(await runningVersion(appliance), '7.7.7');
    assert.equal(await appliance.answer('blog'), 'blog');

    await copyProjectAs('8.8.8', join(guest.root, 'root/broken'));
    const broken = join(guest.root, 'root/broken/src/server/unit.ts');
    const code = await readFile(broken, 'utf8');
    assert.match(code, /^if \(import\.meta\.main\)/m);
    await writeFile(broken, code.replace(/^if \(import\.meta\.main\)/m, '$& process.exit(3);\n$&'));
    const byHand = `cd ${attacker.release} && NODE_OPTIONS='--require ./hook.cjs' /root/broken/install.sh --yes`;
    const failed = await guest.try(byHand, { timeout: 180_000 });
    await attacker.assertCaughtNobody();
    assert.notEqual(failed.code, 0);
    assert.match(failed.stdout + failed.stderr, /7\.7\.7 runs again/);
    assert.equal(await version(), '7.7.7\n');
    assert.equal(await runningVersion(appliance), '7.7.7');

    const back = JSON.parse(await appliance.sluice('upgrade --back --json'));
    assert.deepEqual(back, { before: '7.7.7', now: old.trim() });
    assert.equal(await version(), old);
    assert.equal(await runningVersion(appliance), old.trim());
    assert.equal(await appliance.answer('blog'), 'blog');

    const answer = `1 ${first?.pid}`;
    assert.deepEqual(await lasting.finish(), [answer, answer, answer]);
    const report = await load.stop();
    t.diagnostic(`${suite}: ${report.answered} requests, the slowest took ${Math.round(report.slowest)} ms`);
    assert.deepEqual(report.errors, []);
    assert.ok(report.answered > 1000);
    assert.deepEqual(await filesOfOthers(guest), filesBefore);
    await administer(appliance, attacker);
    await attacker.assertCaughtNobody();
  });
}

/** Lists the files of the system and of the version that runs, with what changes when somebody writes them. */
async function filesOfOthers(guest: Guest): Promise<string[]> {
  const listed =
    await guest.exec(`find /etc /usr /boot "$(readlink -f /opt/sluice/current)" /root/.[a-z]* -xdev \\
    ! -path '*/cache/*' ! -path '*/.cache/*' ! -type d -printf '%p %s %T@ %U:%G %m %l\\n'`);
  return listed.split('\n').sort();
}

/** Runs everyday commands of root, in the directory of an app and with variables that name files of the app. */
async function administer({ guest }: Appliance, { release }: Attacker): Promise<void> {
  const script = `cd ${release}
    export NODE_OPTIONS='--require ./hook.cjs' NODE_PATH=. NODE_COMPILE_CACHE=/tmp/node-compile-cache TMPDIR=/tmp
    sluice doctor --json >/dev/null || [ $? = 1 ]
    sluice backup --releases /root/all.tar.gz
    sluice destroy blog --confirm blog
    sluice restore --force /root/all.tar.gz
    sluice keys list`;
  await guest.exec(script, { timeout: 120_000 });
}

async function runningVersion(appliance: Appliance): Promise<string> {
  return JSON.parse(await appliance.sluice('status --json')).server.version;
}

/** Returns what doctor reports about deaths of server and runner. */
async function restarts(appliance: Appliance): Promise<string> {
  const { checks } = JSON.parse((await appliance.try('doctor --json')).stdout);
  return checks.find(({ name }: { name: string }) => name === 'restarts').message;
}

/** Ends the runner by a signal, and waits until the next one has taken the apps over. */
async function replaceRunner(appliance: Appliance, signal: string): Promise<void> {
  const pids = async () => (await appliance.status('lasting')).workers.map(({ pid }) => pid);
  const before = await pids();
  await appliance.guest.exec(`kill -${signal} $(systemctl show -P MainPID sluice-runner)`);
  const isReplaced = async () => {
    const now = await pids().catch(() => []);
    return now.length > 0 && !now.some((pid) => before.includes(pid));
  };
  await waitFor(isReplaced, { what: 'fresh workers' });
}
