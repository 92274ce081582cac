import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { JobSpec } from '../../src/protocol/runner.ts';

/** npm that knows the versions of Node.js of a registry, and installs them as empty files. For `FakeRunner.onJob`. */
export class FakeNpm {
  versions: string[];
  /** commands, without options */
  readonly calls: string[] = [];
  /** called before each command: may fail, as without a network */
  before: () => void = () => undefined;

  constructor(versions: string[]) {
    this.versions = versions;
  }

  readonly run = async ({ argv, directory }: JobSpec, print: (text: string) => void): Promise<void> => {
    const [program, ...args] = argv;
    if (program !== 'npm') return;
    this.calls.push(args.filter((arg) => !arg.startsWith('-')).join(' '));
    this.before();
    if (args[0] === 'view') print(JSON.stringify(this.versions));
    const name = /^node-linux-[a-z0-9]+(?=@)/.exec(args.at(-1) ?? '')?.[0];
    if (args[0] !== 'install' || name === undefined) return;
    for (const file of [`${name}/bin/node`, '.bin/node']) {
      const path = join(directory, 'node_modules', file);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, '');
    }
  };
}
