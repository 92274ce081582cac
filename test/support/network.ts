import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

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

/** Whether this machine lets us have a network in which we may set that. */
export function canHaveNetwork(): boolean {
  return spawnSync('unshare', [...own, 'true']).status === 0;
}

/** Runs a program of Node's test runner in a network of its own. @returns what it said, and its exit status */
export async function testInOwnNetwork(path: string): Promise<{ code: number | null; output: string }> {
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const child = spawn('unshare', [...own, process.execPath, '--test', '--test-timeout=120000', path], {
    env,
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
