import assert from 'node:assert/strict';
import { test } from 'node:test';
import { publicGitOverHttps } from '../../src/build/public-git.ts';
import { baseEnvironment, buildEnvironment } from '../../src/build/variables.ts';

test('a build inherits the variables that installs need, and no secrets', () => {
  const env = baseEnvironment({
    PATH: '/bin',
    HOME: '/home/sluice',
    USER: 'sluice',
    HTTPS_PROXY: 'http://proxy:3128',
    NODE_EXTRA_CA_CERTS: '/etc/ca.pem',
    npm_config_registry: 'https://npm.example',
    YARN_NPM_REGISTRY_SERVER: 'https://npm.example',
    SLUICE_TOKEN: 'slc_secret',
    NODE_OPTIONS: '--import ./ours.js',
    npm_config_local_prefix: '/where/sluice/was/started',
    npm_lifecycle_event: 'start',
    npm_config_loglevel: 'silent',
    PNPM_CONFIG_LOGLEVEL: 'silent',
    LANG: '',
  });
  assert.deepEqual(env, {
    PATH: '/bin',
    HOME: '/home/sluice',
    USER: 'sluice',
    HTTPS_PROXY: 'http://proxy:3128',
    NODE_EXTRA_CA_CERTS: '/etc/ca.pem',
    npm_config_registry: 'https://npm.example',
    YARN_NPM_REGISTRY_SERVER: 'https://npm.example',
    NODE_DISABLE_COMPILE_CACHE: '1',
    NPM_CONFIG_UPDATE_NOTIFIER: 'false',
  });
});

test('a build does not find the programs of the npm that has started Sluice', () => {
  const ofNpm = ['/sluice/node_modules/.bin', '/node_modules/.bin', '/npm/run-script/lib/node-gyp-bin'];
  const own = ['/home/sluice/node_modules/.bin', '/usr/bin'];
  assert.equal(baseEnvironment({ PATH: [...ofNpm, ...own].join(':') })['PATH'], own.join(':'));
  assert.equal(baseEnvironment({ PATH: own.join(':') })['PATH'], own.join(':'));
});

test('variables of the app take precedence, except those that describe the release or that the package manager requires', () => {
  const env = buildEnvironment({
    base: { PATH: '/bin', HOME: '/home/sluice' },
    app: { NODE_ENV: 'staging', CI: 'false', YARN_NODE_LINKER: 'pnp', PATH: '/app/bin', SLUICE_RELEASE: '0' },
    about: { SLUICE_RELEASE: '7', SLUICE_BRANCH: 'main' },
    manager: { YARN_NODE_LINKER: 'node-modules' },
    path: ['/tools/yarn/bin'],
    node: '/opt/node/bin/node',
    directory: '/home/sluice/staging/7',
    ci: true,
  });
  assert.deepEqual(env, {
    PATH: '/tools/yarn/bin:/opt/node/bin:/app/bin',
    HOME: '/home/sluice',
    NODE_ENV: 'staging',
    CI: 'false',
    NPM_CONFIG_INCLUDE: 'dev',
    HUSKY: '0',
    LEFTHOOK: '0',
    SKIP_INSTALL_SIMPLE_GIT_HOOKS: '1',
    CYPRESS_INSTALL_BINARY: '0',
    ...publicGitOverHttps('/home/sluice', {}),
    SLUICE_RELEASE: '7',
    SLUICE_BRANCH: 'main',
    YARN_NODE_LINKER: 'node-modules',
    GIT_CEILING_DIRECTORIES: '/home/sluice/staging',
  });
});

test('an app may turn on the notice of npm about a newer npm', () => {
  const base = baseEnvironment({ PATH: '/bin' }, true);
  assert.equal(base['NPM_CONFIG_UPDATE_NOTIFIER'], 'false');
  const app = { NPM_CONFIG_UPDATE_NOTIFIER: 'true' };
  const parts = {
    base,
    app,
    about: {},
    manager: {},
    path: [],
    node: '/node',
    directory: '/release',
    ci: false,
  };
  assert.equal(buildEnvironment(parts)['NPM_CONFIG_UPDATE_NOTIFIER'], 'true');
});

test('CI is set only if a setting says so', () => {
  const parts = { base: {}, app: {}, about: {}, manager: {}, path: [], node: '/node', directory: '/release' };
  assert.equal(buildEnvironment({ ...parts, ci: false })['CI'], undefined);
  assert.equal(buildEnvironment({ ...parts, ci: true })['CI'], '1');
});
