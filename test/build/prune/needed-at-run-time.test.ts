import assert from 'node:assert/strict';
import { test } from 'node:test';
import { neededAtRunTime } from '../../../src/build/prune/needed-at-run-time.ts';
import { decideStart } from '../../../src/build/start-command/start-plan.ts';
import { appSettings } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { writeTree } from '../../support/tree.ts';

interface Case {
  scripts?: Record<string, string>;
  settings?: Parameters<typeof appSettings>[0];
  files?: Record<string, string>;
  /** programs that must be among the words */
  programs?: string[];
  without?: string[];
  packages?: string[];
  prefixes?: string[];
}

/** Files that the commands of the cases name. */
const sources = { 'server.js': '', 'build/index.js': '', 'src/index.ts': '' };

const cases: Record<string, Case> = {
  'the program of the start script': {
    scripts: { start: 'NODE_ENV=production serve -s dist' },
    programs: ['serve'],
  },
  'a program by its path': { scripts: { start: './node_modules/.bin/next start' }, programs: ['next'] },
  'a script that the start runs': {
    scripts: {
      start: 'npm run migrate && node server.js',
      migrate: 'prisma migrate deploy',
      build: 'vite build',
    },
    programs: ['prisma'],
    without: ['vite'],
  },
  'a script of another member in a hook': {
    scripts: { start: 'node server.js' },
    settings: { hooks: { preSwitch: 'npm -w db run migrate' } },
    programs: ['prisma'],
    without: ['rollup'],
  },
  'a directory with the name of a script': {
    scripts: { start: 'node build', build: 'vite build' },
    without: ['vite'],
  },
  'the start of the settings instead of the script': {
    scripts: { start: 'vite' },
    settings: { start: 'node server.js' },
    without: ['vite'],
  },
  'hooks after the build, background processes and schedules': {
    settings: {
      hooks: { preSwitch: 'npx knex migrate:latest', postSwitch: 'warm', preBuild: 'early' },
      processes: { mail: 'mailer' },
      cron: [{ schedule: '0 3 * * *', command: 'cd x && sweep' }],
    },
    programs: ['knex', 'warm', 'mailer', 'sweep'],
    without: ['early'],
  },
  'packages that options of Node.js load': {
    scripts: {
      start: 'node -r dotenv/config --import=@swc-node/register/esm-register -r ./local.js src/index.ts',
    },
    packages: ['dotenv', '@swc-node/register'],
    prefixes: ['@tsconfig/'],
  },
  'what ts-node checks': {
    scripts: { start: 'ts-node src/index.ts' },
    packages: ['typescript'],
    prefixes: ['@types/', '@tsconfig/'],
  },
  'TypeScript for next.config.ts': {
    scripts: { start: 'next start' },
    files: { 'next.config.ts': '' },
    packages: ['typescript'],
    prefixes: ['@tsconfig/'],
  },
  'no TypeScript for next.config.js': { scripts: { start: 'next start' }, files: { 'next.config.js': '' } },
};

for (const [title, { scripts = {}, settings, files = {}, ...expected }] of Object.entries(cases)) {
  test(`needed at run time: ${title}`, async (t) => {
    const tree = await temporaryDirectory(t);
    await writeTree(tree, {
      'app/package.json': { scripts },
      'package.json': {},
      'db/package.json': { scripts: { migrate: 'prisma migrate deploy', build: 'rollup -c' } },
      ...prefixed({ ...sources, ...files }),
    });
    const all = appSettings({ ...settings, directory: 'app' });
    const start = await decideStart(tree, all);
    const { programs, packages, prefixes } = await neededAtRunTime(tree, ['', 'app', 'db'], all, start);
    const { programs: wanted = [], without = [] } = expected;
    assert.deepEqual(
      wanted.filter((program) => !programs.includes(program)),
      [],
    );
    assert.deepEqual(
      without.filter((program) => programs.includes(program)),
      [],
    );
    const { packages: loaded = [] } = expected;
    assert.deepEqual(
      [loaded.filter((name) => !packages.includes(name)), prefixes],
      [[], expected.prefixes ?? []],
    );
  });
}

function prefixed(files: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([path, text]) => [`app/${path}`, text]));
}
