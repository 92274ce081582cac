import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { sluiceBinary } from '../support/cli.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import { RunningCli } from '../support/run.ts';
import { Terminal } from '../support/terminal.ts';
import { waitFor } from '../support/wait.ts';

test('a one-off command is its app in all respects: user, home, terminal, files', {
  skip: withoutRoot,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice } = isolated;
  await sluice.deploy('shop', answering('one'));
  const [user = ''] = await isolated.users();
  const { uid, gid } = await idsOf(user);
  const address = { SLUICE_URL: sluice.url, SLUICE_TOKEN: sluice.token };
  const run = async (script: string, input = '') => {
    const cli = new RunningCli(t, ['run', 'shop', script], address);
    cli.end(input);
    const status = await cli.ended;
    return { status, stdout: cli.stdout, stderr: cli.stderr };
  };

  const who = await run(
    'id -u; id -g; id -G; echo $HOME $TMPDIR; grep CapEff /proc/self/status; touch $HOME/x $TMPDIR/y && echo written',
  );
  assert.deepEqual(who.stdout.split('\n').slice(0, 3), [String(uid), String(gid), String(gid)], who.stderr);
  assert.match(who.stdout, /CapEff:\s+0+\nwritten\n$/);

  const pipes = await run('cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr', 'in\n');
  assert.deepEqual(pipes, { status: 0, stdout: 'in\nout\n', stderr: 'err\n' });

  const other = await run(
    `cat ${sluice.paths.tokens}; ls ${sluice.paths.outputs}; ls ${sluice.paths.processes}; kill -9 ${isolated.runner.pid}`,
  );
  assert.notEqual(other.status, 0);
  assert.equal(other.stdout, '');

  const window = new Terminal(
    t,
    [sluiceBinary, 'run', 'shop', 'echo hi >"$(tty)"; stat -c "%u %a" "$(tty)"; read -r x; exit 4'],
    { env: address },
  );
  await window.until(new RegExp(`hi\\r\\n${uid} 6[02]0\\r\\n`));
  window.type('x\n');
  assert.equal(await window.ended, 4);

  const lasting = new RunningCli(
    t,
    ['run', 'shop', 'trap "" HUP TERM; (trap "" HUP TERM; exec setsid sleep 1000) & echo ready; wait'],
    address,
  );
  await lasting.until(/ready/);
  lasting.child.kill('SIGKILL');
  await waitFor(async () => (await sluice.status('shop')).oneOffs.length === 0, {
    what: 'the end of the command',
  });
  const left = await run('ps -u $(id -u) -o args= | grep "^sleep 1000" | wc -l');
  assert.equal(left.stdout.trim(), '0', left.stderr);

  const detached = await sluice.call<{ id: string }>('POST', '/v1/apps/shop/runs', {
    command: 'echo detached; exec sleep 1000',
  });
  await waitFor(async () =>
    (await (await sluice.request('/v1/apps/shop/logs')).text()).includes('detached\n'),
  );
  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  assert.ok(detached.id);
  assert.deepEqual(await isolated.users(), []);
});
