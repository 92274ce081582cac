// biome-ignore-all lint/suspicious/noTemplateCurlyInString: a shell has the same variables.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { completeStart, decideStart, type StartPlan } from '../../../src/build/start-command/start-plan.ts';
import type { Word } from '../../../src/releases/words.ts';
import { appSettings, writeTree } from '../../support/builds.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

/** Describes a start in one line: `first: COMMAND; in DIRECTORY: A=1 node OPTIONS FILE ARGUMENTS`. */
function describe({
  script,
  args,
  nodeArgs,
  env,
  defaults = {},
  directory,
  before = [],
  exec,
}: StartPlan): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${written(value)}`);
  const fromFiles = Object.entries(defaults).map(([name, value]) => `${name}?=${value}`);
  const command =
    exec === undefined
      ? ['node', ...nodeArgs.map(written), script, ...args.map(written)]
      : ['sh:', exec.command];
  return [
    ...before.map((text) => `first: ${text};`),
    ...(directory === undefined ? [] : [`in ${directory}:`]),
    ...fromFiles,
    ...variables,
    ...command,
  ].join(' ');
}

function written(word: Word): string {
  if (typeof word === 'string') return /^[^\s'"]+$/.test(word) ? word : JSON.stringify(word);
  const parts = word.map((part) => {
    if (typeof part === 'string') return part;
    const name = part.default === undefined ? part.variable : `${part.variable}:-${part.default}`;
    return part.split ? `\${${name}}` : `"\${${name}}"`;
  });
  return parts.join('');
}

const js = '';
const server = { 'server.js': js };
const bin = (name: string, file = 'cli.js', content = '') => ({
  [`node_modules/${name}/package.json`]: { name, bin: { [name]: file } },
  [`node_modules/${name}/${file}`]: content,
});
const scripts = (all: Record<string, string>, more: object = {}) => ({
  'package.json': { scripts: all, ...more },
});

/** Start commands: the value of "start" in package.json, other files, and what runs. */
const commands: [start: string, files: Record<string, unknown>, runs: string][] = [
  // Node.js and its options
  ['node server.js', server, 'node server.js'],
  ['node server', server, 'node server.js'],
  ['node .', { ...scripts({}, { main: 'lib/app.js' }), 'lib/app.js': js }, 'node lib/app.js'],
  ['node ./dist', { 'dist/index.js': js }, 'node dist/index.js'],
  ['node bin/www', { 'bin/www': 'require("../app")' }, 'node bin/www'],
  ['/usr/bin/node server.js', server, 'node server.js'],
  [
    'node --enable-source-maps --max-old-space-size=512 server.js --port 80',
    server,
    'node --enable-source-maps --max-old-space-size=512 server.js --port 80',
  ],
  [
    'node -r dotenv/config --import ./trace.mjs server.js',
    server,
    'node -r dotenv/config --import ./trace.mjs server.js',
  ],
  ['node --harmony-nullish server.js', server, 'node server.js'],
  [
    'node --harmony-class-fields --harmony_private_methods --harmony-weak-refs --experimental-import-assertions --nouse-idle-notification server.js',
    server,
    'node server.js',
  ],
  [
    'node --experimental-network-imports --experimental-default-type module --experimental-transform-types --no-experimental-fetch server.js',
    server,
    'node server.js',
  ],
  [
    'node --experimental-transform-types --experimental-default-type module server.ts',
    { 'server.ts': js, '.nvmrc': '22' },
    'node --experimental-transform-types --experimental-default-type module server.ts',
  ],
  ['node -- server.js -x', server, 'node server.js -x'],
  ['node --run serve', { ...scripts({ serve: 'node server.js -s' }), ...server }, 'node server.js -s'],
  [
    'node --env-file=.env.production server.js',
    { ...server, '.env.production': 'A=1\nPORT=5' },
    'A?=1 node server.js',
  ],
  ['node --env-file .env server.js', server, 'node server.js'],
  ['node "my app.js" \'$HOME\' a\\ b ""', { 'my app.js': js }, 'node my app.js $HOME "a b" ""'],
  ['node server.ts', { 'server.ts': js }, 'node server.ts'],
  ['./bin/www', { 'bin/www': '#!/usr/bin/env node\n' }, 'node bin/www'],
  ['./bin/www', { 'bin/www': '#!/usr/bin/env node -r esm\n' }, 'node -r esm bin/www'],
  ['./www.js', { 'www.js': '#!/usr/bin/env -S node --no-warnings\n' }, 'node --no-warnings www.js'],
  ['./bin/www', { 'bin/www': '#!/usr/bin/env ts-node --files\n' }, 'node bin/www'],
  ['nodejs server.js', server, 'node server.js'],
  ['sudo -u app A=1 node server.js', server, 'A=1 node server.js'],
  ['authbind --deep node server.js', server, 'node server.js'],
  ['taskset -c 0,1 node server.js', server, 'node server.js'],
  ['stdbuf -oL node server.js', server, 'node server.js'],
  // variables
  ['NODE_ENV=production node server.js', server, 'NODE_ENV=production node server.js'],
  ['PORT=3000 node server.js', server, 'node server.js'],
  ['node server.js --port $PORT', server, 'node server.js --port ${PORT}'],
  ['node server.js --port=${PORT}', server, 'node server.js --port=${PORT}'],
  ['node server.js -p ${PORT:-8080}', server, 'node server.js -p ${PORT:-8080}'],
  ['node server.js -p "${PORT:=9000}"', server, 'node server.js -p "${PORT:-9000}"'],
  ['URL=http://localhost:$PORT/ node server.js', server, 'URL=http://localhost:${PORT}/ node server.js'],
  ['cross-env NODE_ENV=production A= node server.js', server, 'NODE_ENV=production A="" node server.js'],
  ["cross-env-shell A=1 'node server.js --a $A'", server, 'A=1 node server.js --a ${A}'],
  ['env -u B A=1 node server.js', server, 'A=1 node server.js'],
  ['export A=1 && node server.js', server, 'A=1 node server.js'],
  ['set NODE_ENV=production&& node server.js', server, 'NODE_ENV=production node server.js'],
  [
    'dotenv -e .env.prod -- node server.js',
    { ...server, '.env.prod': 'A="x y"\nPORT=1' },
    'A?=x y node server.js',
  ],
  [
    'B=2 dotenv -e .env -v C=3 node server.js',
    { ...server, '.env': 'A=1\nB=1' },
    'A?=1 B=2 C=3 node server.js',
  ],
  [
    'dotenv -c production -- node server.js',
    { ...server, '.env': 'A=1\nB=1', '.env.production': 'A=2' },
    'A?=2 B?=1 node server.js',
  ],
  ['dotenv -o -- node server.js', { ...server, '.env': 'A=1' }, 'A=1 node server.js'],
  [
    'dotenvx run -f .env.production -- node server.js',
    { ...server, '.env.production': 'A=1' },
    'A?=1 node server.js',
  ],
  [
    'dotenvx run -- node server.js',
    { ...server, '.env': 'A=encrypted:xyz' },
    'sh: dotenvx run -- node server.js',
  ],
  [
    'env-cmd -f .env.production node server.js',
    { ...server, '.env.production': 'A=1' },
    'A=1 node server.js',
  ],
  ['env-cmd --no-override node server.js', { ...server, '.env': 'A=1' }, 'A?=1 node server.js'],
  [
    'env-cmd ./config/.env.prod node server.js',
    { ...server, 'config/.env.prod': 'A=1' },
    'A=1 node server.js',
  ],
  // shells
  ['exec node server.js', server, 'node server.js'],
  ['sh -c "node server.js -x"', server, 'node server.js -x'],
  ['node server.js 2>&1', server, 'node server.js'],
  ['node server.js # serves', server, 'node server.js'],
  ['node server.js &', server, 'node server.js'],
  ['cd server && node index.js', { 'server/index.js': js }, 'in server: node server/index.js'],
  [
    'cd server; npm start',
    { 'server/package.json': { scripts: { start: 'node run' } }, 'server/run.js': js },
    'in server: node server/run.js',
  ],
  ['node migrate.js && node server.js', server, 'first: node migrate.js; node server.js'],
  ['node migrate.js; node server.js', server, 'first: { node migrate.js; } || true; node server.js'],
  [
    'cd api && npx prisma migrate deploy && node index.js',
    { 'api/index.js': js },
    'first: cd api && npx prisma migrate deploy; in api: node api/index.js',
  ],
  ['(a || true) && node server.js', server, 'first: (a || true); node server.js'],
  ['set -e; mkdir -p tmp && node server.js', server, 'first: mkdir -p tmp; node server.js'],
  [
    'prisma generate && npm test && node server.js',
    { ...scripts({ test: 'x' }), ...server },
    'node server.js',
  ],
  ['echo start && node server.js', server, 'node server.js'],
  [
    'npm install && npm run build && node dist/a.js',
    { ...scripts({ build: 'tsc' }), 'dist/a.js': js },
    'node dist/a.js',
  ],
  [
    'npm run migrate && node server.js',
    { ...scripts({ migrate: 'knex' }), ...server },
    'first: npm run migrate; node server.js',
  ],
  ['node server.js | pino-pretty', server, 'sh: node server.js | pino-pretty'],
  [
    'node migrate.js && node server.js | pino-pretty',
    server,
    'first: node migrate.js; sh: node server.js | pino-pretty',
  ],
  ['echo y | node server.js', server, 'sh: echo y | node server.js'],
  ['node a.js & node b.js', {}, 'sh: node a.js & node b.js'],
  ['node server.js > out.log', server, 'sh: node server.js > out.log'],
  ['node $(cat main.txt)', {}, 'sh: node $(cat main.txt)'],
  [
    'if [ -f a ]; then node a.js; else node b.js; fi',
    {},
    'sh: if [ -f a ]; then node a.js; else node b.js; fi',
  ],
  ['./start.sh', { 'start.sh': '#!/bin/sh\nnode server.js' }, 'sh: ./start.sh'],
  ['bash start.sh', { 'start.sh': '' }, 'sh: bash start.sh'],
  ['make start', {}, 'sh: make start'],
  ['node -e "require(\'./server\')"', server, 'sh: node -e "require(\'./server\')"'],
  // package managers
  [
    'npm run serve -- --quiet',
    { ...scripts({ serve: 'node server.js -y' }), ...server },
    'node server.js -y --quiet',
  ],
  ['npm run serve --silent', { ...scripts({ serve: 'node server.js' }), ...server }, 'node server.js'],
  [
    'A=1 B=1 yarn serve -x',
    { ...scripts({ serve: 'B=2 node server.js' }), ...server },
    'A=1 B=2 node server.js -x',
  ],
  ['yarn node server.js', server, 'node server.js'],
  ['pnpm run serve', { ...scripts({ serve: 'node server.js' }), ...server }, 'node server.js'],
  ['pnpm exec tsx server.ts', { 'server.ts': js }, 'node --import tsx server.ts'],
  ['pnpm tsx server.ts', { 'server.ts': js }, 'node --import tsx server.ts'],
  ['npm exec -- next start', bin('next'), 'node node_modules/next/cli.js start'],
  ['bun run serve', { ...scripts({ serve: 'node server.js' }), ...server }, 'node server.js'],
  ['bun run src/index.ts --x', { 'src/index.ts': js }, 'node src/index.ts --x'],
  [
    'npm run serve',
    { ...scripts({ preserve: 'node a.js', serve: 'node server.js' }), ...server },
    'first: node a.js; node server.js',
  ],
  ['npm run all', { ...scripts({ all: 'node server.js | cat' }), ...server }, 'sh: node server.js | cat'],
  [
    'npm run all -- "a b"',
    { ...scripts({ all: 'node server.js | cat' }), ...server },
    "sh: node server.js | cat 'a b'",
  ],
  ['npm run start:$NODE_ENV', {}, 'sh: npm run start:$NODE_ENV'],
  ['yarn start:${NODE_ENV:-production}', {}, 'sh: yarn start:${NODE_ENV:-production}'],
  ['pnpm run start:$NODE_ENV', {}, 'sh: pnpm run start:$NODE_ENV'],
  // arguments belong to the command before Sluice reads it
  [
    'npm run ts src/index.ts',
    { ...scripts({ ts: 'ts-node' }), 'src/index.ts': js },
    'node --require ts-node/register src/index.ts',
  ],
  [
    'npm run run -- --port $PORT "a b"',
    { ...scripts({ run: 'node server.js' }), ...server },
    'node server.js --port ${PORT} "a b"',
  ],
  // programs of packages
  ['next start -p $PORT', bin('next'), 'node node_modules/next/cli.js start -p ${PORT}'],
  ['npx --yes next@15 start', bin('next'), 'node node_modules/next/cli.js start'],
  ['./node_modules/.bin/next start', bin('next'), 'node node_modules/next/cli.js start'],
  ['npx serve -s dist', scripts({}, { dependencies: { express: '5' } }), 'sh: npx serve -s dist'],
  ['starter', bin('starter', 'run', '#!/bin/sh\nexec node x'), 'sh: starter'],
  ['tsx src/main.ts', { 'src/main.ts': js }, 'node --import tsx src/main.ts'],
  [
    'tsx --tsconfig tsconfig.app.json src/main',
    { 'src/main.ts': js },
    'TSX_TSCONFIG_PATH=tsconfig.app.json node --import tsx src/main.ts',
  ],
  [
    'ts-node -T -r tsconfig-paths/register src/main.ts',
    { 'src/main.ts': js },
    'TS_NODE_TRANSPILE_ONLY=true node --require ts-node/register --require=tsconfig-paths/register src/main.ts',
  ],
  ['ts-node-esm src/main.ts', { 'src/main.ts': js }, 'node --loader ts-node/esm src/main.ts'],
  ['concurrently "node a.js" "node b.js"', {}, 'sh: concurrently "node a.js" "node b.js"'],
  ['cross-env A=1 npm-run-all migrate serve', {}, 'sh: cross-env A=1 npm-run-all migrate serve'],
  [
    'run-s build migrate serve',
    { ...scripts({ build: 'tsc', migrate: 'knex migrate', serve: 'node server.js' }), ...server },
    'first: npm run migrate; node server.js',
  ],
  [
    'npm-run-all -s migrate serve',
    { ...scripts({ migrate: 'node a.js', serve: 'node server.js' }), ...server },
    'first: npm run migrate; node server.js',
  ],
  ['run-s migrate:* serve', { ...scripts({ serve: 'node server.js' }) }, 'sh: run-s migrate:* serve'],
  ['run-s a b', scripts({ b: 'node server.js' }), 'sh: run-s a b'],
  ['npm-run-all -p a b', scripts({ a: 'x', b: 'node server.js' }), 'sh: npm-run-all -p a b'],
  ['turbo run start', {}, 'sh: turbo run start'],
  ['run-script-os', bin('run-script-os'), 'sh: run-script-os'],
  ['probot run ./app.js', bin('probot'), 'sh: probot run ./app.js'],
  ['per-env', { ...scripts({ 'start:production': 'node server.js' }), ...server }, 'node server.js'],
  [
    'NODE_ENV=qa per-env',
    { ...scripts({ 'start:qa': 'node server.js', 'start:production': 'node x.js' }), ...server },
    'NODE_ENV=qa node server.js',
  ],
  // process managers and watchers
  [
    'nf start',
    { Procfile: 'web: node server.js\njobs: node jobs.js', '.env': 'A=1', ...server },
    'node server.js',
  ],
  ['pm2-runtime server.js -i max -- -x', server, 'node server.js -x'],
  ['pm2 start server.js --no-daemon --name shop', server, 'node server.js'],
  [
    'pm2-runtime start npm -- run serve',
    { ...scripts({ serve: 'node server.js' }), ...server },
    'node server.js',
  ],
  ['forever start -c "node --trace-warnings" server.js', server, 'node --trace-warnings server.js'],
  ['nodemon --watch src -e js,ts server.js -x', server, 'node server.js -x'],
  ['nodemon', { ...scripts({}, { main: 'server.js' }), ...server }, 'node server.js'],
  ['nodemon --exec "tsx server.ts"', { 'server.ts': js }, 'node --import tsx server.ts'],
  [
    'nodemon --exec ts-node src/index.ts',
    { 'src/index.ts': js },
    'node --require ts-node/register src/index.ts',
  ],
  [
    'nodemon --watch src/**/*.ts --exec ts-node src/index.ts',
    { 'src/index.ts': js },
    'node --require ts-node/register src/index.ts',
  ],
  ['nodemon src/*.ts', {}, 'sh: nodemon src/*.ts'],
  ['nodemon -x tsx src/index.ts', { 'src/index.ts': js }, 'node --import tsx src/index.ts'],
  [
    'nodemon --exec "node --loader ts-node/esm" src/index.ts',
    { 'src/index.ts': js },
    'node --loader ts-node/esm src/index.ts',
  ],
  [
    'nodemon src/index.ts',
    { ...scripts({}, { devDependencies: { 'ts-node': '10' } }), 'src/index.ts': js },
    'node --require ts-node/register src/index.ts',
  ],
  [
    'ts-node-dev --respawn --transpile-only src/index.ts',
    { 'src/index.ts': js },
    'node --require ts-node/register src/index.ts',
  ],
  ['tsx watch --clear-screen=false src/index.ts', { 'src/index.ts': js }, 'node --import tsx src/index.ts'],
  ['node --watch server.js', server, 'node server.js'],
  ['node-dev server.js', server, 'node server.js'],
];

for (const [start, files, runs] of commands) {
  test(`\`${start}\` runs \`${runs}\``, async (t) => {
    const directory = await temporaryDirectory(t);
    const { 'package.json': manifest = {}, ...others } = files as { 'package.json'?: { scripts?: object } };
    const installed = Object.keys(others).flatMap(
      (path) => /^node_modules\/([^/]+)\/package/.exec(path)?.[1] ?? [],
    );
    const dependencies = Object.fromEntries(installed.map((name) => [name, '1']));
    const all = { dependencies, ...manifest, scripts: { ...manifest.scripts, start } };
    await writeTree(directory, { ...others, 'package.json': all });
    const settings = appSettings();
    const plan = await completeStart(directory, settings, await decideStart(directory, settings));
    assert.equal(describe(plan), runs);
  });
}
