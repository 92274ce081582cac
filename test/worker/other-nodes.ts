import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The first version with long-term support and the last one of each line, and the newest version. */
const supported = ['18.12.0', '18', '20.9.0', '20', '22.11.0', '22', '24', '25', '26'];
/** Tests of the bootstrap in apps. */
const files = [
  'worker/listen',
  'worker/orphan',
  'runner/connections',
  'runner/contract',
  'runner/endings',
  'runner/handoff',
  'runner/http2',
  'runner/listening',
  'runner/orphans',
  'runner/other-ports',
  'runner/servers',
  'runner/switch',
  'runner/unix-sockets',
];

/** Runs the tests of the bootstrap with apps on other versions of Node.js: on those that the arguments name, or on all. */
function main(): void {
  const named = process.argv.slice(2);
  const versions = named.length > 0 ? named : supported;
  const directory = mkdtempSync(join(tmpdir(), 'sluice-nodes-'));
  try {
    const packages = versions.map((version) => `node${version}@npm:node-linux-${process.arch}@${version}`);
    if (!run('npm', ['install', '--prefix', directory, '--no-audit', '--no-fund', ...packages], {}))
      throw new Error('npm cannot install these versions of Node.js');
    const failed = versions.filter((version) => {
      const node = join(directory, `node_modules/node${version}/bin/node`);
      const tests = files.map((file) => fileURLToPath(new URL(`../${file}.test.ts`, import.meta.url)));
      console.log(`apps run on Node.js ${version}`);
      // Runs more files than there are cores, since tests mostly wait.
      const flags = ['--test', '--test-force-exit', '--test-concurrency=3', '--test-timeout=120000'];
      return !run(process.execPath, [...flags, ...tests], { SLUICE_TEST_APP_NODE: node });
    });
    if (failed.length > 0) throw new Error(`failed with apps on Node.js ${failed.join(', ')}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** @returns true if it succeeded */
function run(program: string, args: string[], environment: Record<string, string>): boolean {
  const options = { stdio: 'inherit', env: { ...process.env, ...environment } } as const;
  return spawnSync(program, args, options).status === 0;
}

main();
