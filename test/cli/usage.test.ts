import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { Command } from 'commander';
import { otherNames, registerUnneededCommands, similarNames } from '../../src/cli/other-names.ts';
import { cli, sluiceBinary } from '../support/cli.ts';
import { temporaryDirectory } from '../support/temporary.ts';

test('every command has help, and wrong usage exits with status 2', async (t) => {
  const home = await temporaryDirectory(t);
  const env = { SLUICE_HOME: home };
  const { stdout, code } = await cli(['--help'], { env });
  assert.equal(code, 0);
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name as string);
  for (const name of 'up deploy rollback status apps destroy releases cancel logs env scale restart stop start token doctor'.split(
    ' ',
  )) {
    assert.ok(commands.includes(name), `${name} is in the help`);
    const help = await cli([name, '--help'], { env });
    assert.equal(help.code, 0);
    assert.match(help.stdout, new RegExp(`^Usage: sluice ${name}`));
  }
  for (const wrong of [
    [],
    ['nothing'],
    ['scale', 'shop'],
    ['scale', 'shop', 'x'],
    ['logs', 'No Name'],
    ['apps', '--all'],
  ]) {
    assert.equal((await cli(wrong, { env })).code, 2, wrong.join(' '));
  }
});

test('an unknown command exits with status 2 and a suggestion, also with --help', async () => {
  for (const [name, meant] of [
    ['remove', 'destroy'],
    ['jlist', 'status --json'],
    ['deplyo', 'deploy'],
  ] as const) {
    const { code, stdout, stderr } = await cli([name, '--help']);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    assert.match(stderr, new RegExp(`^error: unknown command '${name}'\\n\\(Did you mean ${meant}\\?\\)`));
  }
});

test('names of PM2 stand for our commands', async () => {
  for (const [name, ours] of [
    ['ls', 'apps'],
    ['list', 'apps'],
    ['ps', 'status'],
    ['describe', 'status'],
    ['show', 'status'],
    ['reload', 'restart'],
    ['delete', 'destroy'],
    ['monit', 'monit'],
  ] as const) {
    const { code, stdout } = await cli([name, '--help']);
    assert.equal(code, 0, name);
    assert.match(stdout, new RegExp(`^Usage: sluice ${ours} `), name);
  }
});

test('commands of PM2 that Sluice does not need say so, and fail unless there is nothing to do', async () => {
  for (const [name, status, text] of [
    ['startup', 0, /^Nothing to do on a system-wide installation: .*at boot/],
    ['save', 0, /^Nothing to do: .*after a reboot/],
    ['dump', 0, /^Nothing to do: .*after a reboot/],
    ['flush', 2, /^Sluice does not empty logs/],
    ['kill', 2, /sluice stop APP/],
    ['update', 2, /sluice upgrade --to SOURCE/],
  ] as const) {
    const { code, stdout } = await cli([name, 'systemd', '-u', 'deploy', '--hp', '/home/deploy']);
    assert.equal(code, status, name);
    assert.match(stdout, text, name);
  }
  assert.doesNotMatch((await cli(['--help'])).stdout, /^ {2}flush/m);
});

test('kill says how to stop this server: with systemd only if it runs the server', async (t) => {
  const home = await temporaryDirectory(t);
  const local = await cli(['kill'], { env: { SLUICE_HOME: home } });
  assert.match(local.stdout, /sluice stop APP/);
  assert.ok(local.stdout.includes(`kill "$(cat ${home}/up.pid)"`), local.stdout);
  assert.doesNotMatch(local.stdout, /systemctl/);
  const remote = await cli(['kill'], {
    env: { SLUICE_URL: 'https://deploy.example.com', SLUICE_TOKEN: 'x' },
  });
  assert.match(remote.stdout, /systemctl stop sluice\.socket sluice sluice-runner/);
});

/** Commands of PM2 7, with their other names. */
const ofPm2 =
  `start trigger deploy startOrRestart startOrReload pid create startOrGracefulReload stop restart scale profile:mem
  profile:cpu reload id inspect delete del sendSignal ping updatePM2 update install module:install module:update module:generate
  uninstall module:uninstall package publish module:publish set multiset get conf config unset report link unlink monitor
  unmonitor open plus register login logout dump save cleardump send attach resurrect unstartup startup logrotate ecosystem init
  reset describe desc info show env list ls l ps status jlist slist sysinfos prettylist monit imonit dashboard dash flush
  reloadLogs logs kill pull forward backward deepUpdate serve expose autoinstall examples install-otel uninstall-otel`.split(
    /\s+/,
  );

test('each command of PM2 is a command here, stands for one, or is explained', () => {
  const program = new Command();
  registerUnneededCommands(program);
  const explained = program.commands.map((command) => command.name());
  const same = ['start', 'deploy', 'stop', 'restart', 'scale', 'init', 'env', 'status', 'monit', 'logs'];
  const known = [...same, ...explained, ...Object.keys(otherNames), ...Object.keys(similarNames)];
  assert.deepEqual(
    ofPm2.filter((name) => !known.includes(name)),
    [],
  );
  assert.equal(new Set(known).size, known.length, 'no name has two meanings');
});

test('deploy distinguishes a file from a missing directory', async (t) => {
  const file = join(await temporaryDirectory(t), 'file');
  await writeFile(file, '');
  for (const [path, message] of [
    [file, `${file} is a file, not a directory`],
    [`${file}/app`, `directory ${file}/app not found`],
  ] as const) {
    const { code, stderr } = await cli(['deploy', path]);
    assert.deepEqual([code, stderr], [2, `failed: ${message}\n`]);
  }
});

test('scale reports an invalid number with the valid ones', async () => {
  for (const wrong of ['max', 'auto', '0', '65']) {
    const { code, stderr } = await cli(['scale', 'shop', wrong]);
    assert.equal(code, 2);
    assert.match(
      stderr,
      new RegExp(`invalid worker count: "${wrong}" \\(expected 1 to 64, or "default"\\)\\n`),
    );
  }
});

test('without a server, a command exits with status 1 and the command that starts it', async (t) => {
  const home = join(await temporaryDirectory(t), "Ann's state");
  const env = { SLUICE_HOME: home };
  const told = await cli(['status'], { env });
  assert.equal(told.code, 1);
  assert.match(
    told.stderr,
    /^failed: Sluice is not running: nothing answers at .+\n {2}Its state would be in /,
  );
  const command = /Start it with: (.+)\n/.exec(told.stderr)?.[1] ?? '';
  const words = execFileSync('/bin/sh', ['-c', `printf '%s\\n' ${command}`], { encoding: 'utf8' });
  assert.equal(words, `SLUICE_HOME=${home}\n${sluiceBinary}\nup\n`);
  assert.equal(told.stdout, '');
  const json = await cli(['status', '--json'], { env });
  assert.equal(json.code, 1);
  assert.equal(JSON.parse(json.stdout).error.code, 'not_running');
  assert.equal(json.stderr, '');
});

test('bin/sluice works through links to it, from any directory', async (t) => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, 'bin'));
  await symlink(sluiceBinary, join(directory, 'first'));
  await symlink('../first', join(directory, 'bin', 'sluice'));
  const { stdout } = await cli(['--version'], { binary: join(directory, 'bin', 'sluice'), cwd: '/' });
  assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
});

test('the config file names the server, and its faults are reported', async (t) => {
  const config = await temporaryDirectory(t);
  await mkdir(join(config, 'sluice'));
  const file = join(config, 'sluice', 'config.json');
  const status = () => cli(['status'], { env: { XDG_CONFIG_HOME: config } });
  await writeFile(file, '{"url": "http://127.0.0.1:1"}');
  assert.match((await status()).stderr, /has a URL but no token/);
  await writeFile(file, '{"url": "http://127.0.0.1:1", "token": "slc_x"}');
  assert.match((await status()).stderr, /nothing answers at http:\/\/127\.0\.0\.1:1\//);
  await writeFile(file, '{"url"');
  assert.match((await status()).stderr, /config\.json is not valid JSON/);
});

test('a missing backup and an invalid token are reported', async (t) => {
  const home = await temporaryDirectory(t);
  const restored = await cli(['restore', join(home, 'nothing.tar.gz')], { env: { SLUICE_HOME: home } });
  assert.equal(restored.code, 2);
  assert.match(restored.stderr, /^failed: the backup \S+nothing\.tar\.gz cannot be read: ENOENT/m);
  const env = { SLUICE_URL: 'http://user:password@127.0.0.1:1/', SLUICE_TOKEN: 'a\nb' };
  const withLine = await cli(['status'], { env });
  assert.match(withLine.stderr, /^failed: .* has an invalid token\n {2}A token has no spaces/);
  const unreachable = await cli(['status'], { env: { ...env, SLUICE_TOKEN: 'token' } });
  assert.match(unreachable.stderr, /nothing answers at http:\/\/127\.0\.0\.1:1\//);
  assert.doesNotMatch(unreachable.stderr, /password/);
});
