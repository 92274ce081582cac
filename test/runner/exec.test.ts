import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { AppError } from '../../src/errors/app-error.ts';
import { appFile, execCommands, execSpec } from '../support/exec.ts';
import { Load, orderViolations } from '../support/load.ts';
import { TestRunner } from '../support/runner.ts';
import { waitFor } from '../support/wait.ts';

for (const [name, command] of Object.entries(execCommands)) {
  test(`${name} loses no request and keeps the order over 20 switches under load (thorough)`, (t) =>
    switchUnderLoad(t, command, 20));
}

test('a command that starts Node.js loses no request and keeps the order over switches under load', (t) =>
  switchUnderLoad(t, execCommands['node:cluster'], 2));

async function switchUnderLoad(t: TestContext, command: string, switches: number): Promise<void> {
  const runner = await TestRunner.start(t);
  await runner.release(execSpec(runner, command));
  const load = new Load(runner.port);
  t.after(() => load.stop());
  for (let count = 0; count < switches; count += 1) {
    const before = load.answered;
    await waitFor(() => load.answered > before + 24, { what: 'the load' });
    await runner.release(execSpec(runner, command));
  }
  const { samples, errors } = await load.stop();
  t.diagnostic(`${switches} switches, ${samples.length} requests, ${errors.length} lost`);
  assert.deepEqual(errors, []);
  assert.deepEqual(orderViolations({ samples }), []);
  assert.equal(new Set(samples.map(({ mark }) => mark)).size, switches + 1);
}

interface Failure {
  name: string;
  command: string;
  code: string;
  message: RegExp;
  hint: RegExp;
}

const failures: Failure[] = [
  {
    name: 'another program that listens on the port',
    command: `perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => $ENV{PORT}, Listen => 5, ReuseAddr => 1); sleep 1000'`,
    code: 'unsupported_start',
    message: /^perl listens on port \d+, and is not a Node\.js program/,
    hint: /Node\.js programs only/,
  },
  {
    name: 'a Node.js process without the bootstrap',
    command: `NODE_OPTIONS= ${JSON.stringify(process.execPath)} ${appFile('plain.cjs')}; true`,
    code: 'unsupported_start',
    message: /^a Node\.js process listens on port \d+ without Sluice/,
    hint: /NODE_OPTIONS="\$NODE_OPTIONS/,
  },
  {
    name: 'a primary process that listens itself',
    command: `HOW=cluster-sticky node ${appFile('broken.cjs')}; true`,
    code: 'boot_cluster',
    message: /^the app listens in the primary process of node:cluster/,
    hint: /without node:cluster/,
  },
  {
    name: 'an end before it listens',
    command: `node ${appFile('plain.cjs')} >/dev/null & exit 0`,
    code: 'boot_exited',
    message: /^the command ended with exit status 0 before it listened/,
    hint: /in the foreground/,
  },
];

/** Failures that only `bootTimeout` shows. */
const lateFailures: Failure[] = [
  {
    name: 'another program',
    command: 'sleep 1000; true',
    code: 'unsupported_start',
    message: /^the command runs sleep, and no Node\.js program/,
    hint: /Node\.js programs only/,
  },
  {
    name: 'another port',
    command: `${other(3999)}; true`,
    code: 'boot_timeout',
    message:
      /^no Node\.js process of the command listened on port \d+ within 3\.0 s; one listens on port 3999/,
    hint: /"port": 3999/,
  },
];

test('a command that does not start is refused, and the error names the program and the remedy', (t) =>
  refuse(t, failures));

test('a command of which no Node.js process listens in time is refused, and the error names what runs instead (thorough)', (t) =>
  refuse(t, lateFailures));

async function refuse(t: TestContext, all: Failure[]): Promise<void> {
  const runner = await TestRunner.start(t);
  for (const { name, command, code, message, hint } of all) {
    await t.test(name, () =>
      assert.rejects(runner.boot(execSpec(runner, command, { bootTimeout: '3s' })), (error: AppError) => {
        assert.equal(error.code, code);
        assert.match(error.message, message);
        assert.match(error.hint, hint);
        return true;
      }),
    );
  }
}

function other(port: number): string {
  return `node -e 'require("http").createServer(() => {}).listen(${port})'`;
}
