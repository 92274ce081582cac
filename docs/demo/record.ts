import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { type Line, render } from './render.ts';

/** Records docs/demo/demo.svg: a push, a second push and a rollback, as a real Sluice prints them. Run by `npm run demo`. */
const root = resolve(import.meta.dirname, '../..');
const sluice = join(root, 'bin/sluice');
const directory = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
const app = join(directory, 'shop');
const env = {
  PATH: `${join(root, 'bin')}:${process.env['PATH']}`,
  HOME: directory,
  SLUICE_HOME: join(directory, 'sluice'),
  GIT_CONFIG_NOSYSTEM: '1',
};
const lines: Line[] = [];

const up = spawn(sluice, ['up'], { env, stdio: ['ignore', 'pipe', 'inherit'] });
try {
  await once(createInterface(up.stdout), 'line');
  cpSync(join(root, 'examples/hello'), app, { recursive: true });
  const token = run('sluice token create shop --app shop').trim().split('\n').at(-1);
  run('git init --quiet --initial-branch main');
  run('git config user.name Ann && git config user.email ann@example.com');
  run(`git remote add deploy "http://git:${token}@127.0.0.1:8700/git/shop.git"`);
  run('git add . && git commit --quiet --message "First version"');

  await show('git push deploy main');
  await show('curl --silent http://127.0.0.1:9001');
  greet('Welcome');
  run('git commit --quiet --all --message "A warmer greeting"');
  await show('git push deploy main');
  await show('curl --silent http://127.0.0.1:9001');
  await show('sluice rollback shop');
  await show('curl --silent http://127.0.0.1:9001');
  writeFileSync(join(import.meta.dirname, 'demo.svg'), render(lines));
} finally {
  const exited = once(up, 'exit');
  up.kill('SIGTERM');
  await exited;
  rmSync(directory, { recursive: true });
}

function greet(word: string): void {
  const file = join(app, 'server.js');
  writeFileSync(file, readFileSync(file, 'utf8').replace('Hello', word));
}

/** Runs a command that the recording does not show. */
function run(command: string): string {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: app, env, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${stderr}`);
  return stdout;
}

/** Runs a command and records its lines with their times. */
async function show(command: string): Promise<void> {
  const start = Date.now();
  lines.push({ kind: 'command', text: command, afterMs: 0 });
  const child = spawn('sh', ['-c', `${command} 2>&1`], {
    cwd: app,
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let last = start;
  for await (const text of createInterface(child.stdout)) {
    const now = Date.now();
    lines.push({ kind: 'output', text: text.trimEnd(), afterMs: now - last });
    last = now;
  }
}
