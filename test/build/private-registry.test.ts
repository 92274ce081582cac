import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import type { BuildContext } from '../../src/build/context.ts';
import { appSettings, type BuildRun, runBuild, writeTree } from '../support/builds.ts';
import { runJob } from '../support/jobs.ts';
import { startPrivateRegistry } from '../support/private-registry.ts';
import { temporaryDirectory } from '../support/temporary.ts';

const token = 'npm_privateTokenOf+the/Registry=42';

const npmrc = (url: string) => `@acme:registry=${url}
${url.replace('http:', '')}:_authToken=\${NPM_TOKEN}
`;
const yarnrc = (url: string) => `npmScopes:
  acme:
    npmRegistryServer: "${url}"
    npmAlwaysAuth: true
    npmAuthToken: "\${NPM_TOKEN}"
unsafeHttpWhitelist: ["127.0.0.1"]
`;

const managers: { name: string; file: string; content: (url: string) => string }[] = [
  ...[
    'npm@11.19.1',
    'npm@8.19.4',
    'pnpm@10.34.9',
    'pnpm@11.28.11',
    'pnpm@8.15.9',
    'yarn@1.22.22',
    'bun@1.4.5',
  ].map((name) => ({
    ...{ name, file: '.npmrc', content: npmrc },
  })),
  ...['yarn@3.8.7', 'yarn@4.18.1'].map((name) => ({ name, file: '.yarnrc.yml', content: yarnrc })),
];

/** Each package manager takes seconds, and has to be downloaded. */
function titleOf({ name }: (typeof managers)[number]): string {
  return `by ${name}${['npm@11.19.1', 'pnpm@10.34.9'].includes(name) ? '' : ' (thorough)'}`;
}

interface Prepared {
  directory: string;
  home: string;
  build(env: Record<string, string>, run?: BuildRun, changes?: Partial<BuildContext>): Promise<BuildRun>;
  /** arguments of all commands */
  argv: string[];
}

async function prepare(
  t: TestContext,
  { name, file, content }: (typeof managers)[number],
): Promise<Prepared> {
  const { url } = await startPrivateRegistry(t, token);
  const parent = await temporaryDirectory(t);
  const [directory, home] = [join(parent, 'app'), join(parent, 'home')];
  await writeTree(directory, {
    'package.json': {
      ...{ name: 'app', version: '1.0.0', private: true, license: 'MIT', packageManager: name },
      scripts: { build: 'node build.cjs' },
      dependencies: { '@acme/secret': '1.2.3' },
    },
    'build.cjs': "console.log('token: ' + process.env.NPM_TOKEN)",
    [file]: content(url),
  });
  await writeTree(home, { empty: '' });
  const argv: string[] = [];
  const caches = {
    HOME: home,
    npm_config_cache: join(home, 'npm'),
    npm_config_store_dir: join(home, 'store'),
  };
  const build = (env: Record<string, string>, run?: BuildRun, changes: Partial<BuildContext> = {}) =>
    runBuild(
      directory,
      {
        env: { ...caches, ...env },
        secrets: [token],
        cache: join(home, 'cache'),
        runJob: (job, ...rest) => {
          argv.push(...job.argv);
          return runJob(job, ...rest);
        },
        ...changes,
      },
      run,
    );
  return { directory, home, build, argv };
}

/** Returns the files below a directory that contain one of the texts. */
function filesWith(directory: string, texts: string[]): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return paths.filter((path) => texts.some((text) => readFileSync(path, 'latin1').includes(text)));
}

const written = [token, Buffer.from(token).toString('base64'), encodeURIComponent(token)];

describe('a package of a private registry is installed with a token of the build, which stays nowhere', {
  concurrency: 2,
}, () => {
  for (const manager of managers) {
    test(titleOf(manager), async (t) => {
      const { directory, home, build, argv } = await prepare(t, manager);
      const { lines } = await build({ NPM_TOKEN: token });
      assert.equal(createRequire(join(directory, 'app.js'))('@acme/secret'), 'of the private registry');
      assert.ok(
        lines.some((line) => /token: •+/.test(line)),
        lines.join('\n'),
      );
      assert.deepEqual([...filesWith(directory, written), ...filesWith(home, written)], []);
      for (const text of written) assert.ok(!`${lines}${argv}`.includes(text));
    });
  }
});

describe('a missing token is named with the command that sets it', { concurrency: 2 }, () => {
  for (const manager of managers) {
    test(titleOf(manager), async (t) => {
      const { build } = await prepare(t, manager);
      const run = { steps: [], notices: [], lines: [] } as BuildRun;
      await assert.rejects(build({}, run), (error: { code?: string; hint?: string; message: string }) => {
        assert.equal(error.code, 'install_failed', error.message);
        assert.match(error.hint ?? '', /`sluice env set shop --build NPM_TOKEN=…`/, error.message);
        return true;
      });
    });
  }
});

test('a token that the build writes into .npmrc is replaced by the name of its variable', async (t) => {
  const [manager] = managers;
  assert.ok(manager);
  const { directory, build } = await prepare(t, { ...manager, file: '.npmrc', content: () => '' });
  const { url } = await startPrivateRegistry(t, token);
  const lines = npmrc(url).replace(/[{}]/g, '').trim().split('\n');
  const preBuild = lines.map((line) => `echo "${line}" >> .npmrc`).join('; ');
  const { notices } = await build({ NPM_TOKEN: token }, undefined, {
    buildOnly: ['NPM_TOKEN'],
    settings: appSettings({ hooks: { preBuild } }),
  });
  assert.equal(readFileSync(join(directory, '.npmrc'), 'utf8'), `\n${npmrc(url)}`.trimStart());
  assert.deepEqual(filesWith(directory, written), []);
  assert.match(
    notices.find(({ code }) => code === 'token_in_file')?.message ?? '',
    /wrote the value of NPM_TOKEN into \.npmrc/,
  );
});
