import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

const migrates = '/proc/sys/net/ipv4/tcp_migrate_req';

/**
 * Whether the kernel moves connections that wait on a socket, when it is closed, to another one on the same port. Off
 * by default, and set for each network namespace.
 */
export function movesConnections(): boolean {
  return readFileSync(migrates, 'utf8').trim() === '1';
}

const begin = `ip link set lo up && echo 1 > ${migrates} && exec "$@"`;
const own = [...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--net', 'sh', '-c', begin, 'sh'];

/** Returns true if this machine allows a network namespace in which this setting can change. */
export function canHaveNetwork(): boolean {
  return spawnSync('unshare', [...own, 'true']).status === 0;
}

/**
 * Runs tests with a kernel that moves connections: in this network, or else in a network of our own.
 * @param name name of the test that runs them
 * @param path path of a test file for Node's test runner
 * @param env additional variables
 */
export async function testWhereConnectionsMove(
  name: string,
  path: string,
  { timeout, env = {} }: { timeout: number; env?: Record<string, string> },
): Promise<void> {
  if (movesConnections() || !canHaveNetwork()) {
    Object.assign(process.env, env);
    await import(path);
    return;
  }
  test(name, { timeout }, async (t) => {
    const { code, output } = await testInOwnNetwork(path, timeout, env);
    for (const line of output.split('\n'))
      if (/^[✔✖ℹ] .*(?:lost|request|seed)/.test(line)) t.diagnostic(line);
    assert.equal(code, 0, output);
  });
}

/** Runs a test file. @returns its output and its exit status */
async function testInOwnNetwork(
  path: string,
  timeout: number,
  more: Record<string, string>,
): Promise<{ code: number | null; output: string }> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn('unshare', [...own, process.execPath, '--test', `--test-timeout=${timeout}`, path], {
    env: { ...env, ...more },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const [code] = await once(child, 'close');
  return { code, output };
}
