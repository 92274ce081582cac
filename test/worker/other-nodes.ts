import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bootstrapTimes } from '../../bench/boot-time.ts';
import { median } from '../../bench/figures.ts';
import { oldestNode } from '../../src/build/node-version/known.ts';

/** Oldest version that apps get, and the newest of each LTS line without a known fault. */
const supported = [oldestNode, '18', '20', '22', '24.21', '26'];
/** Versions that only tools of a command in exec mode run on: the bootstrap does nothing there, and must not stop them. */
const ofTools = ['12', '14.17', '16'];
/** Tests of the bootstrap in apps. */
const files = [
  'worker/listen',
  'worker/orphan',
  'runner/connections',
  'runner/contract',
  'runner/endings',
  'runner/exec',
  'runner/exec-supervision',
  'runner/exec-takeover',
  'runner/handoff',
  'runner/http2',
  'runner/listening',
  'runner/orphans',
  'runner/other-ports',
  'runner/pm2-contract',
  'runner/servers',
  'runner/switch',
  'runner/unix-sockets',
];

/**
 * Runs the tests of the bootstrap with apps on other versions of Node.js: on those that the arguments name, or on all. Runs the
 * further variants only on the oldest version, which lacks the most features, and on named versions.
 */
async function main(): Promise<void> {
  const named = process.argv.slice(2);
  const versions = named.length > 0 ? named : supported;
  const tools = named.length > 0 ? [] : ofTools;
  const directory = mkdtempSync(join(tmpdir(), 'sluice-nodes-'));
  try {
    const packages = [...tools, ...versions].map(
      (version) => `node${version}@npm:node-linux-${process.arch}@${version}`,
    );
    if (!run('npm', ['install', '--prefix', directory, '--no-audit', '--no-fund', ...packages], {}))
      throw new Error('npm cannot install these versions of Node.js');
    const nodeOf = (version: string) => join(directory, `node_modules/node${version}/bin/node`);
    const failed = tools.filter((version) => !runTool(nodeOf(version)));
    for (const version of versions) {
      const node = nodeOf(version);
      const isWhole = named.length > 0 || version === oldestNode;
      const load = median(await bootstrapTimes(node)).toFixed(1);
      console.log(
        `apps run on Node.js ${version}; the bootstrap loads in ${load} ms (limit of the bench: 5 ms)`,
      );
      if (!runTests(node, isWhole)) failed.push(version);
    }
    if (failed.length > 0) throw new Error(`failed with apps on Node.js ${failed.join(', ')}`);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Runs a program with the variables of a process in exec mode. @returns true if it succeeded */
function runTool(node: string): boolean {
  const bootstrap = fileURLToPath(new URL('../../src/worker/bootstrap.cjs', import.meta.url));
  return run(node, ['--require', bootstrap, '--eval', '0'], { SLUICE_WORKER: '{}' });
}

/** @param isWhole true to run the further variants, too. @returns true if all tests passed */
function runTests(node: string, isWhole: boolean): boolean {
  const tests = files.map((file) => fileURLToPath(new URL(`../${file}.test.ts`, import.meta.url)));
  // Runs more files than there are cores, since tests mostly wait.
  const flags = ['--test', '--test-force-exit', '--test-concurrency=3', '--test-timeout=120000'];
  const some = isWhole ? [] : ['--test-skip-pattern=thorough'];
  return run(process.execPath, [...flags, ...some, ...tests], {
    SLUICE_TEST_APP_NODE: node,
    // Commands of apps in exec mode start `node`.
    PATH: [dirname(node), process.env['PATH']].join(delimiter),
  });
}

/** @returns true if it succeeded */
function run(program: string, args: string[], environment: Record<string, string>): boolean {
  const options = { stdio: 'inherit', env: { ...process.env, ...environment } } as const;
  return spawnSync(program, args, options).status === 0;
}

await main();
