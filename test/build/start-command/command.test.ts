import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCommand, type StartCommand } from '../../../src/build/start-command/command.ts';
import { AppError } from '../../../src/errors/app-error.ts';

type Parsed = Omit<StartCommand, 'text' | 'from'>;
type Program = Partial<Record<StartCommand['program']['kind'], string>>;

function command({
  env = {},
  nodeArgs = [],
  args = [],
  ...program
}: Partial<Omit<Parsed, 'program'>> & Program): Parsed {
  const [[kind, name] = []] = Object.entries(program);
  return { env, nodeArgs, args, program: { kind, name } as StartCommand['program'] };
}

const parsed: Record<string, Parsed> = {
  'node server.js': command({ file: 'server.js' }),
  'node .': command({ file: '.' }),
  'NODE_ENV=production node dist/main.js': command({ env: { NODE_ENV: 'production' }, file: 'dist/main.js' }),
  'cross-env NODE_ENV=production A= node a.js': command({
    env: { NODE_ENV: 'production', A: '' },
    file: 'a.js',
  }),
  'node --enable-source-maps --max-old-space-size=512 a.js --port 80': command({
    nodeArgs: ['--enable-source-maps', '--max-old-space-size=512'],
    file: 'a.js',
    args: ['--port', '80'],
  }),
  'node -r dotenv/config --import ./trace.mjs a.js': command({
    nodeArgs: ['-r', 'dotenv/config', '--import', './trace.mjs'],
    file: 'a.js',
  }),
  'node -- a.js -x': command({ file: 'a.js', args: ['-x'] }),
  'node -- -a.js b': command({ file: '-a.js', args: ['b'] }),
  'node "my app.js" \'$HOME\' a\\ b ""': command({ file: 'my app.js', args: ['$HOME', 'a b', ''] }),
  'node a.js "a\\"b \\$HOME \\n" x\'"y"\'\\ z': command({ file: 'a.js', args: ['a"b $HOME \\n', 'x"y" z'] }),
  'tsx src/main.ts': command({ nodeArgs: ['--import', 'tsx'], file: 'src/main.ts' }),
  'exec node a.js': command({ file: 'a.js' }),
  './bin/www': command({ executable: './bin/www' }),
  './node_modules/.bin/next start': command({ bin: 'next', args: ['start'] }),
  'server.mjs': command({ executable: 'server.mjs' }),
  'next start -p 3000': command({ bin: 'next', args: ['start', '-p', '3000'] }),
  'npx next start': command({ bin: 'next', args: ['start'] }),
  'npm start': command({ script: 'start' }),
  'npm run serve -- --quiet': command({ script: 'serve', args: ['--quiet'] }),
  'yarn serve': command({ script: 'serve' }),
  'pnpm run serve': command({ script: 'serve' }),
};

for (const [text, expected] of Object.entries(parsed)) {
  test(`\`${text}\` is parsed`, () => {
    assert.deepEqual(parseCommand(text, '"start"'), { ...expected, text, from: '"start"' });
  });
}

const rejected: Record<string, RegExp> = {
  'npm run build && node a.js': /it needs a shell, because it contains "&"/,
  'node a.js | pino-pretty': /it contains "\|"/,
  'node a.js > out.log': /it contains ">"/,
  'node a.js --port $PORT': /"\$" \(variables such as PORT are in the environment of the app\)/,
  'node a.js "$HOME"': /because it contains "\$" /,
  'node a.js\nnode b.js': /because it contains a line end/,
  'node "a.js': /an unclosed "/,
  'node -e "require(1)"': /with -e, Node\.js does not run the file of the app/,
  'node --watch a.js': /with --watch/,
  node: /it names no file/,
  'NODE_ENV=production': /it names no program/,
  'nodemon server.js': /nodemon starts the app in another process/,
  'pm2-runtime start ecosystem.config.js': /pm2-runtime starts the app in another process/,
  'npm ci': /Sluice supports npm only with "start", or with "run"/,
  'npx --yes serve': /it names no program/,
  'npx nodemon server.js': /nodemon starts the app in another process/,
};

for (const [text, message] of Object.entries(rejected)) {
  test(`\`${text}\` is rejected with a reason and a hint`, () => {
    assert.throws(
      () => parseCommand(text, '"start" in package.json'),
      (error) => {
        assert.ok(error instanceof AppError);
        assert.equal(error.code, 'unsupported_start');
        assert.match(error.message, message);
        assert.match(error.message, /^"start" in package\.json is `/);
        assert.match(error.hint, /node/);
        return true;
      },
    );
  });
}
