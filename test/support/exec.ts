import { join } from 'node:path';
import type { GenerationSpec } from '../../src/protocol/runner.ts';
import { apps, type TestRunner } from './runner.ts';

/** Returns the path of an app of the fixtures, as a word of a shell. */
export function appFile(name: string): string {
  return JSON.stringify(join(apps, name));
}

/** Commands that start Node.js in another process. */
export const execCommands = {
  'a shell script': `true; node ${appFile('plain.cjs')}; echo ended`,
  'a pipeline': `node ${appFile('plain.cjs')} | cat`,
  'a wrapper': `node ${appFile('run-all.cjs')} 'node ${appFile('plain.cjs')}' 'sleep 1000'`,
  'node:cluster': `node ${appFile('cluster.cjs')}`,
  'replaced NODE_OPTIONS': `NODE_OPTIONS=--max-old-space-size=100 node ${appFile('plain.cjs')}; exit 1`,
};

/** Returns the spec of a release with one worker in exec mode. */
export function execSpec(
  runner: TestRunner,
  command: string,
  settings: object = {},
  env: Record<string, string> = {},
): GenerationSpec {
  const spec = runner.spec('', { workers: 1, ...settings }, env);
  return { ...spec, exec: { command, reason: 'it is a test' } };
}
