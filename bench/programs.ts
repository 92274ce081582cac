import { execFile } from 'node:child_process';
import { access, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Path of PM2's program. */
export const pm2Program = at('node_modules/pm2/bin/pm2');

/** Installs the programs of bench/package.json, unless they are there. */
export async function installPrograms(): Promise<void> {
  const isThere = await access(at('node_modules/.package-lock.json')).then(
    () => true,
    () => false,
  );
  if (isThere) return;
  await run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: at('.'), timeout: 300_000 });
}

export async function pm2Version(): Promise<string> {
  return JSON.parse(await readFile(at('node_modules/pm2/package.json'), 'utf8')).version;
}

/** Sends requests with autocannon, in a process of its own. @throws Error if a request fails */
export async function autocannon(url: string, connections: number, amount: number): Promise<void> {
  const program = at('node_modules/autocannon/autocannon.js');
  const options = ['--json', '--connections', String(connections), '--amount', String(amount)];
  const { stdout } = await run(process.execPath, [program, ...options, url], { maxBuffer: 16 * 1024 ** 2 });
  const { errors, non2xx } = JSON.parse(stdout) as { errors: number; non2xx: number };
  if (errors + non2xx > 0) throw new Error(`${errors + non2xx} requests to ${url} failed`);
}
