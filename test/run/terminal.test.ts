import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { sluiceBinary } from '../support/cli.ts';
import { untilNoneRuns } from '../support/run.ts';
import { startSluice } from '../support/server.ts';
import { Terminal } from '../support/terminal.ts';
import { wholeFile } from '../support/whole-file.ts';

const sluice = await startSluice(wholeFile);
await sluice.deploy('shop', answering('one'));

type After = Parameters<typeof startSluice>[0];

/** Opens a window with `sluice` in it. */
function open(t: After, args: string[], size?: string): Terminal {
  return new Terminal(t, [sluiceBinary, ...args], {
    env: { SLUICE_HOME: sluice.home },
    ...(size && { size }),
  });
}

/**
 * Opens a window with a shell that runs `sluice`, prints its exit status, and then whether the terminal has its usual modes.
 */
function openInShell(t: After, command: string): Terminal {
  const script = `before=$(stty -g); ${sluiceBinary} ${command}; echo "status $?"; test "$(stty -g)" = "$before" && echo restored; exit 0`;
  return new Terminal(t, ['/bin/sh', '-c', script], { env: { SLUICE_HOME: sluice.home } });
}

test('the command has a terminal of the size and type of the caller, and the size follows', async (t) => {
  const window = open(
    t,
    [
      'run',
      'shop',
      'test -t 0 && test -t 2; echo tty $?; stty size; echo $TERM; trap "stty size; exit" WINCH; while :; do sleep 0.05; done',
    ],
    '31 97',
  );
  await window.until(/tty 0\r\n31 97\r\nxterm-256color\r\n/);
  window.resize(45, 133);
  await window.until(/45 133\r\n/);
  assert.equal(await window.ended, 0);
});

test('Ctrl-C reaches the command, and the terminal of the caller is restored', async (t) => {
  const window = openInShell(t, "run shop 'echo ready; exec sleep 1000'");
  await window.until(/ready\r\n/);
  window.type('\u0003');
  await window.until(/status 130\r\nrestored/);
  assert.equal(await window.ended, 0);
});

test('each way to end restores the terminal of the caller (thorough)', async (t) => {
  for (const [command, keys, shown] of [
    ["run shop 'echo ready; exit 3'", '', /status 3\r\nrestored/],
    ["run shop 'echo ready; cat'", '\u0004', /status 0\r\nrestored/],
    ["run shop 'echo ready; exec sleep 1000'", '\u001c', /status 131\r\nrestored/],
    ["run unknown 'x'", '', /status 125\r\nrestored/],
  ] as const) {
    const window = openInShell(t, command);
    if (keys !== '') {
      await window.until(/ready\r\n/);
      window.type(keys);
    }
    await window.until(shown);
  }
  await untilNoneRuns(sluice);
});

test('Ctrl-Z stops no process that nobody could continue, and a shell can use it (thorough)', async (t) => {
  const direct = openInShell(t, "run shop 'echo ready; read -r x; echo got $x'");
  await direct.until(/ready\r\n/);
  direct.type('\u001athis\n');
  await direct.until(/got this\r\n/);
  const shell = open(t, ['console', 'shop', '--shell']);
  shell.type('PS1="> "; echo a$((1 + 1))b\n');
  await shell.until(/a2b\r\n/);
  shell.type("sh -c 'echo go; exec sleep 1000'\n");
  await shell.until(/\rgo\r\n/);
  shell.type('\u001a');
  await shell.until(/Stopped/);
  // bash refuses the first `exit` if it has not noticed yet that the stopped job is gone.
  shell.type('kill -KILL %1; exit 5\nexit 5\n');
  assert.equal(await shell.ended, 5);
});

test('sluice console is a REPL with the variables of the app, history and colours', async (t) => {
  const window = open(t, ['console', 'shop']);
  await window.until(/> /);
  window.type('process.env.SLUICE_APP + process.env.SLUICE_RELEASE\r');
  await window.until(/'shop1'/);
  assert.ok(window.shown.includes('\u001b['));
  window.type('.exit\r');
  assert.equal(await window.ended, 0);
});

test('characters of several bytes arrive and are removed as one', async (t) => {
  const window = open(t, ['run', 'shop', 'echo ready; read -r x; echo "<$x>"']);
  await window.until(/ready\r\n/);
  window.type('grüß😀\u007f\u007fn\n');
  await window.until(/<grün>\r\n/);
});

test('a closed window ends the command with SIGHUP', async (t) => {
  const window = open(t, ['run', 'shop', 'trap "" TERM; echo ready; sleep 1000']);
  await window.until(/ready\r\n/);
  window.close();
  await untilNoneRuns(sluice);
});

test('Ctrl-C ends a command that prints without an end', async (t) => {
  const window = openInShell(t, "run shop 'yes'");
  await window.until(/y\r\ny\r\ny\r\n/);
  window.type('\u0003');
  await window.until(/status 130\r\nrestored/);
});
