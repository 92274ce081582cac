import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decideStart } from '../../../src/build/start-command/start-plan.ts';
import { AppError } from '../../../src/errors/app-error.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** Scripts of package.json, and what runs at the end of the build and before the workers start. */
const starts: [scripts: Record<string, string>, builds: string[], before: string[]][] = [
  // A script `pre` has a shell of its own.
  [
    { prestart: 'cd client && npm install && npm run build', start: 'node server.js' },
    ['cd client && npm install', 'cd client && npm run build'],
    [],
  ],
  // What removes an earlier output is done.
  [{ start: 'rm -rf dist && tsc && node server.js' }, ['tsc'], []],
  [{ build: 'tsc', start: 'rm -rf dist && npm run build && node server.js' }, [], []],
  [{ build: 'tsc', start: 'rm -rf dist || true && npm run build && node server.js' }, [], []],
  [{ start: 'rm -rf node_modules && npm install && node server.js' }, [], []],
  [
    {
      clean: 'rimraf dist',
      build: 'tsc',
      prestart: 'npm run clean && npm run build',
      start: 'node server.js',
    },
    [],
    [],
  ],
  [{ prestart: 'shx rm -rf dist', build: 'tsc', start: 'npm run build && node server.js' }, [], []],
  [{ start: 'tsc && rm -rf tmp && node server.js' }, ['tsc'], ['rm -rf tmp']],
  // Commands keep their order.
  [
    { start: 'node gen.js && tsc && node warm.js && node server.js' },
    ['node gen.js', 'tsc'],
    ['node warm.js'],
  ],
  [
    {
      build: 'cd client && npm run build',
      start: 'cd client && npm install && npm run build && cd .. && node server.js',
    },
    ['cd client && npm install', 'cd client && npm run build'],
    [],
  ],
  [{ start: 'npm ci --prefix client && node server.js' }, ['npm ci --prefix client'], []],
  [{ start: 'npm install --omit dev && node server.js' }, [], []],
  [{ start: 'npm run db:push && tsc && node server.js', 'db:push': 'x' }, ['tsc'], ['npm run db:push']],
  [
    { start: 'npx prisma migrate deploy && npx prisma generate && node server.js' },
    ['npx prisma generate'],
    ['npx prisma migrate deploy'],
  ],
  // Builds
  [{ prestart: 'gulp build', start: 'node server.js' }, ['gulp build'], []],
  [{ start: 'lessc a.less > a.css && node server.js' }, ['lessc a.less > a.css'], []],
  [{ start: 'npx turbo run build --filter=web && node server.js' }, ['npx turbo run build --filter=web'], []],
  [{ start: 'yarn tsc -p . && node server.js' }, ['yarn tsc -p .'], []],
  [{ start: 'craco build && node server.js' }, ['craco build'], []],
  [
    { make: 'npm run styles', styles: 'sass a b', start: 'npm run make && node server.js' },
    ['npm run make'],
    [],
  ],
  [{ make: 'npm run make', start: 'npm run make && node server.js' }, [], ['npm run make']],
  [{ build: 'tsc', start: 'npm run build --if-present && node server.js' }, [], []],
  [
    { build: 'tsc', start: 'npm run build -- --watch=false && node server.js' },
    ['npm run build -- --watch=false'],
    [],
  ],
  // As LoopBack generates it.
  [
    {
      clean: 'lb-clean dist *.tsbuildinfo .eslintcache',
      build: 'lb-tsc',
      rebuild: 'npm run clean && npm run build',
      prestart: 'npm run rebuild',
      start: 'node server.js',
    },
    [],
    [],
  ],
];

for (const [scripts, builds, before] of starts) {
  const { prestart = '', start } = scripts;
  test(`\`${prestart && `${prestart}; `}${start}\` builds \`${builds.join('; ')}\``, async (t) => {
    const directory = await temporaryDirectory(t);
    const client = { scripts: { build: 'vite build' } };
    await writeTree(directory, {
      'package.json': { scripts, devDependencies: { typescript: '5' } },
      'client/package.json': client,
      'server.js': '',
    });
    const decision = await decideStart(directory, appSettings());
    const command = decision.candidates[0]?.command;
    assert.deepEqual([decision.builds, command?.before], [builds, before]);
    assert.deepEqual(command?.target, { kind: 'file', name: 'server.js' });
    assert.equal(command?.directory, '.');
  });
}

test('scripts that run each other very often are decided in little time', async (t) => {
  const long = 'x '.repeat(7500);
  const many = 'npm run a && '.repeat(190);
  // Scripts that lead from one to the next, and scripts that each run the next very often.
  const path = Array.from({ length: 15 }, (_, at) => [`s${at}`, `${many}npm run s${at + 1}`]);
  const tree = Array.from({ length: 15 }, (_, at) => [`s${at}`, `npm run s${at + 1} && `.repeat(190) + long]);
  const hostile: Record<string, string>[] = [
    { a: long, start: `${'npm run a && '.repeat(1200)}node server.js` },
    { a: long, ...Object.fromEntries(path), start: 'npm run s0' },
    { ...Object.fromEntries(tree), start: 'npm run s0 && node server.js' },
  ];
  for (const scripts of hostile) {
    const directory = await temporaryDirectory(t);
    await writeTree(directory, { 'package.json': { scripts }, 'server.js': '' });
    const from = performance.now();
    await decideStart(directory, appSettings()).catch((error: unknown) => {
      if (!(error instanceof AppError)) throw error;
    });
    const took = performance.now() - from;
    assert.ok(took < 2000, `${scripts['start']?.slice(0, 40)}: ${took} ms`);
  }
});
