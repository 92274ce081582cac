import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planDeploy } from '../../../src/build/plan.ts';
import { completeStart } from '../../../src/build/start-command/start-plan.ts';
import { findStaticSite } from '../../../src/build/static-site/find.ts';
import { placeStaticSite } from '../../../src/build/static-site/place.ts';
import { loadAppSettings, topOf } from '../../../src/config/app-settings.ts';
import { readManifest } from '../../../src/config/package-manifest.ts';
import { temporaryDirectory } from '../../support/temporary.ts';
import { type Files, writeTree } from '../../support/tree.ts';

const machine = { nodes: { own: '26.8.2', list: async () => [] }, cores: 4 };

/** package.json with packages by name, and scripts. */
function app(packages: string, scripts: Record<string, string> = {}, more: object = {}): Files {
  const devDependencies = Object.fromEntries(packages.split(' ').map((name) => [name, '*']));
  return { 'package.json': { devDependencies, scripts: { build: 'true', ...scripts }, ...more } };
}

/** Sites with gulp and Browsersync whose index.html is in the root. */
function gulpInRoot(): [what: string, files: Files, built: string[], log: string][] {
  const main = { main: 'gulpfile.js' };
  const css = { start: 'gulp', build: 'gulp css' };
  const packages = 'gulp browser-sync';
  const page = { 'index.html': '', 'gulpfile.js': 'livereload.listen();' };
  const rows: [files: Files, from: string][] = [
    [{ 'package.json': manifest({ start: 'gulp watch' }) }, 'Browsersync'],
    [app(packages, css), 'Browsersync'],
    [{ 'package.json': manifest({}, main) }, 'index.html'],
    [{ 'package.json': manifest({}, { main: './Gruntfile' }), 'Gruntfile.js': '' }, 'index.html'],
    [{ ...app(packages, css, main), 'app.js': '$(f);' }, 'Browsersync'],
    [{ ...app(packages, css, { main: 'js/scripts.js' }), 'js/scripts.js': '$(f);' }, 'Browsersync'],
    [
      {
        ...app(packages, { start: 'node scripts/start' }),
        'scripts/start.js': "require('./sync');",
        'scripts/sync.js': "require('browser-sync').create().init({ server: '.' });",
      },
      'Browsersync',
    ],
  ];
  return rows.map(([files, from], at) => [
    `gulp with the page in the root, ${at + 1}`,
    { ...page, ...files },
    [],
    `serves the files of the release (${from})`,
  ]);

  function manifest(scripts: Record<string, string>, more: object = {}) {
    return { devDependencies: { gulp: '*', 'browser-sync': '*' }, scripts, ...more };
  }
}

/** Files before the build, files of the build, and what the log of the deploy says. */
const sites: [what: string, files: Files, built: string[], log: string][] = [
  ['plain HTML', { 'index.html': '' }, [], 'serves the files of the release (index.html)'],
  ['HTML in public', { 'public/index.html': '' }, [], 'serves public (public/index.html)'],
  [
    'a page with a manifest',
    { 'index.html': '', 'package.json': { devDependencies: { prettier: '*' } } },
    [],
    'serves the files of the release (index.html)',
  ],
  [
    'Vite',
    app('vite', { dev: 'vite', preview: 'vite preview' }),
    ['dist'],
    'serves dist as a single-page app (Vite)',
  ],
  [
    'Vite that starts its preview',
    app('vite', { start: 'vite preview --host --port $PORT' }),
    ['dist'],
    'serves dist as a single-page app (Vite)',
  ],
  [
    'Vite that starts by another script',
    app('vite', { start: 'npm run dev', dev: 'vite --open' }),
    ['dist'],
    'serves dist as a single-page app (Vite)',
  ],
  [
    'Vite with another output',
    { ...app('vite'), 'vite.config.ts': `export default { root: 'src', build: { outDir: "../site" } }` },
    ['site'],
    'serves site as a single-page app (Vite)',
  ],
  [
    'Vite in a directory',
    app('vite', { build: 'vite build web' }),
    ['web/dist'],
    'serves web/dist as a single-page app (Vite)',
  ],
  [
    'Vite that its package does not name',
    { 'package.json': { scripts: { dev: 'vite', build: 'node build.js' } } },
    ['dist'],
    'serves dist as a single-page app (Vite)',
  ],
  [
    'Create React App',
    { ...app('react-scripts', { start: 'react-scripts start' }), 'public/index.html': '' },
    ['build'],
    'serves build as a single-page app (Create React App)',
  ],
  ...[
    'react-scripts --openssl-legacy-provider start',
    'env-cmd -f .env react-scripts start',
    'dotenv -e .env -- react-scripts start',
    'dotenv -e .env react-scripts start',
    'npx env-cmd .env.local react-scripts start',
    'npm-run-all -p watch-css start-js',
    "echo 'Run npm run dev.' && exit 1",
  ].map((start): (typeof sites)[number] => [
    `Create React App with \`${start}\``,
    {
      ...app('react-scripts', {
        start,
        'watch-css': 'npm run build-css && node-sass-chokidar src -o src --watch',
        'start-js': 'react-scripts start',
      }),
      'src/index.js': '',
    },
    ['build'],
    'serves build as a single-page app (Create React App)',
  ]),
  [
    'Create React App after its eject',
    { ...app('react-dev-utils webpack', { start: 'node scripts/start.js' }), 'src/index.js': '' },
    ['build'],
    'serves build as a single-page app (Create React App)',
  ],
  [
    'CRACO',
    app('@craco/craco react-scripts', { start: 'cross-env PORT=3000 craco start' }),
    ['build'],
    'serves build as a single-page app (Create React App)',
  ],
  [
    'Vue CLI',
    app('@vue/cli-service', { serve: 'vue-cli-service serve' }),
    ['dist'],
    'serves dist as a single-page app (Vue CLI)',
  ],
  [
    'Angular',
    app('@angular/cli @angular/build', { start: 'ng serve' }),
    ['dist/shop/browser'],
    'serves dist/shop/browser as a single-page app (Angular)',
  ],
  [
    'Angular 16',
    app('@angular/cli', { start: 'ng serve' }),
    ['dist/shop'],
    'serves dist/shop as a single-page app (Angular)',
  ],
  [
    'Angular with another output',
    { ...app('@angular/cli'), 'angular.json': '{"options": {"outputPath": "www"}}' },
    ['www/browser'],
    'serves www/browser as a single-page app (Angular)',
  ],
  ['Ember', app('ember-cli', { start: 'ember serve' }), ['dist'], 'serves dist as a single-page app (Ember)'],
  ['Preact CLI', app('preact-cli'), ['build'], 'serves build as a single-page app (Preact CLI)'],
  ['Umi', app('@umijs/max', { start: 'max dev' }), ['dist'], 'serves dist as a single-page app (Umi)'],
  ['Quasar', app('@quasar/app-vite vite'), ['dist/spa'], 'serves dist/spa as a single-page app (Quasar)'],
  [
    'Stencil',
    app('@stencil/core', { start: 'stencil build --dev --watch --serve' }),
    ['www'],
    'serves www as a single-page app (Stencil)',
  ],
  [
    'Slidev',
    app('@slidev/cli', { dev: 'slidev --open' }),
    ['dist'],
    'serves dist as a single-page app (Slidev)',
  ],
  ['Rsbuild', app('@rsbuild/core'), ['dist'], 'serves dist as a single-page app (Rsbuild)'],
  [
    'Snowpack',
    app('snowpack', { start: 'snowpack dev' }),
    ['build'],
    'serves build as a single-page app (Snowpack)',
  ],
  ['Parcel', app('parcel', { start: 'parcel src/index.html' }), ['dist'], 'serves dist (Parcel)'],
  ['Parcel with React', app('parcel react-dom'), ['dist'], 'serves dist as a single-page app (Parcel)'],
  [
    'webpack with React',
    app('html-webpack-plugin react-dom', { start: 'webpack serve' }),
    ['dist'],
    'serves dist as a single-page app (webpack)',
  ],
  [
    'scripts with Browsersync',
    {
      ...app('browser-sync', { start: 'npm run build && node scripts/start' }),
      'scripts/start.js': "require('browser-sync').create().init({ server: 'dist' });",
      'src/index.js': '',
    },
    ['dist'],
    'serves dist (Browsersync)',
  ],
  [
    'gulp with Browsersync',
    {
      ...app('browser-sync gulp', { start: 'npm run go', go: 'gulp' }, { main: 'gulpfile.js' }),
      'gulpfile.js': '',
    },
    ['dist'],
    'serves dist (Browsersync)',
  ],
  ...gulpInRoot(),
  ['Astro', app('astro', { start: 'astro dev' }), ['dist'], 'serves dist (Astro)'],
  ['Gatsby', app('gatsby', { start: 'gatsby develop' }), ['public'], 'serves public (Gatsby)'],
  [
    'Docusaurus',
    app('@docusaurus/core', { start: 'docusaurus start' }),
    ['build'],
    'serves build (Docusaurus)',
  ],
  ['VitePress', app('vitepress vite'), ['docs/.vitepress/dist'], 'serves docs/.vitepress/dist (VitePress)'],
  ['VuePress', app('vuepress'), ['site/.vuepress/dist'], 'serves site/.vuepress/dist (VuePress)'],
  ['Rspress', app('@rspress/core'), ['doc_build'], 'serves doc_build (Rspress)'],
  [
    'Eleventy',
    app('@11ty/eleventy', { start: 'npx @11ty/eleventy --serve' }),
    ['_site'],
    'serves _site (Eleventy)',
  ],
  [
    'Eleventy with another output',
    { ...app('@11ty/eleventy'), 'eleventy.config.js': `export const config = { dir: { output: "pages" } };` },
    ['pages'],
    'serves pages (Eleventy)',
  ],
  ['Hexo', app('hexo', { server: 'hexo server' }), ['public'], 'serves public (Hexo)'],
  ['Gridsome', app('gridsome'), ['dist'], 'serves dist (Gridsome)'],
  [
    'Next.js export',
    { ...app('next', { start: 'next start' }), 'next.config.mjs': `export default { output: 'export' }` },
    ['out'],
    'serves out (Next.js export)',
  ],
  [
    'Next.js with an export by a condition',
    {
      ...app('next', { start: 'next start' }),
      'next.config.mjs': `export default process.env.EXPORT ? { output: 'export' } : {}`,
      'node_modules/next/package.json': { bin: { next: 'cli.js' } },
      'node_modules/next/cli.js': '',
      '.next/BUILD_ID': 'x',
    },
    [],
    'starts with node_modules/next/cli.js (program of Next.js export, because the build has written a server)',
  ],
  [
    'Nuxt generate',
    app('nuxt', { build: 'nuxt generate' }),
    ['.output/public'],
    'serves .output/public (Nuxt generate)',
  ],
  [
    'SvelteKit adapter-static',
    app('@sveltejs/kit @sveltejs/adapter-static vite'),
    ['build'],
    'serves build (SvelteKit adapter-static)',
  ],
  [
    'React Router without a server',
    { ...app('@react-router/dev vite'), 'react-router.config.ts': 'export default { ssr: false }' },
    ['build/client'],
    'serves build/client as a single-page app (React Router without a server)',
  ],
  ['a build of unknown tools', app('gulp'), ['dist'], 'serves dist (dist/index.html)'],
  [
    'the setting',
    { 'sluice.json': { static: './site/' }, 'site/a.txt': '' },
    [],
    'serves site (the setting "static")',
  ],
  [
    'the setting of a root',
    { 'sluice.json': { static: '.' }, 'index.js': '', 'index.html': '' },
    [],
    'serves the files of the release (the setting "static")',
  ],
  [
    'the setting with a tool',
    { ...app('vite', { start: 'node server.js' }), 'sluice.json': { static: 'web' } },
    ['web'],
    'serves web as a single-page app (the setting "static")',
  ],
  [
    'the setting that decides all',
    { ...app('vite'), 'sluice.json': { static: { directory: 'web', spa: false } } },
    ['web'],
    'serves web (the setting "static")',
  ],
];

test('what is served of an app without a start command', async (t) => {
  for (const [what, files, built, log] of sites) {
    await t.test(what, async (t) => {
      const tree = await temporaryDirectory(t);
      await writeTree(tree, files);
      const before = await planDeploy(tree, machine);
      await writeTree(tree, Object.fromEntries(built.map((directory) => [`${directory}/index.html`, ''])));
      const { description } = await completeStart(tree, before.settings, before.start);
      assert.equal(description, log);
      if (before.site !== undefined) assert.equal(before.workers.count, 1);
    });
  }
});

const express = { dependencies: { express: '*' } };

/** Apps that a tool for sites takes part in, but that start a program or cannot be decided before the build. */
const servers: [what: string, files: Files][] = [
  ['a start command', app('vite', { start: 'node server.mjs' })],
  ['a start command after a build', app('vite', { start: 'npm run build && node .' })],
  ['a site and a server', app('vite', { start: 'run-p site api', site: 'vite', api: 'node api.js --watch' })],
  ['two programs', app('vite', { start: 'vite preview & node api.js' })],
  ['a command for production', app('vite', { start: 'vite', 'start:prod': 'node api.js' })],
  ['a setting', { ...app('vite'), 'sluice.json': { start: 'node api.js' } }],
  ['a server file', { ...app('vite'), 'server.ts': '' }],
  ['a Procfile', { ...app('vite'), Procfile: 'web: node api.js\n' }],
  ['a package of servers', app('vite', {}, express)],
  ['Next.js', app('next', { start: 'next start' })],
  [
    'Next.js with an export in a comment',
    {
      ...app('next', { start: 'next start' }),
      'next.config.js': "// output: 'export',\n/**\n * output: 'export' */",
    },
  ],
  ['Nuxt', app('nuxt', { generate: 'nuxt generate', build: 'nuxt build' })],
  ['SvelteKit with Node.js', app('@sveltejs/kit @sveltejs/adapter-node vite')],
  ['Astro with Node.js', app('astro @astrojs/node vite')],
  ['Angular with a server', app('@angular/cli @angular/ssr')],
  ['React Router', app('@react-router/dev vite')],
  ['SolidStart', app('@solidjs/start vite')],
];

test('an app with a server does not become a static site before its build', async (t) => {
  for (const [what, files] of servers) {
    await t.test(what, async (t) => {
      const tree = await temporaryDirectory(t);
      await writeTree(tree, { 'api.js': '', 'server.mjs': '', 'index.js': '', 'index.html': '', ...files });
      const settings = await loadAppSettings(topOf(tree));
      assert.equal(await findStaticSite(tree, await readManifest(tree), settings), undefined);
    });
  }
});

test('an app with Browsersync as the proxy of its server starts the server', async (t) => {
  const listens = 'require("http").createServer().listen(process.env.PORT);';
  const dev = { dev: 'browser-sync start --proxy localhost:3000' };
  const script = { start: 'node scripts/start.js' };
  const rows: [files: Files, starts: string][] = [
    [{ ...app('browser-sync', dev, { main: 'app.js' }), 'app.js': listens }, 'app.js'],
    [{ ...app('browser-sync', dev), 'src/index.js': listens }, 'src/index.js'],
    [{ ...app('browser-sync', script), 'scripts/start.js': listens }, 'scripts/start.js'],
    [
      { ...app('browser-sync', { start: 'gulp', prod: 'node web' }), 'web.js': '', 'server.js': '' },
      'web.js',
    ],
    [{ ...app('browser-sync gulp-nodemon', { start: 'gulp', prod: 'node web' }), 'web.js': '' }, 'web.js'],
  ];
  for (const [files, starts] of rows) {
    const tree = await temporaryDirectory(t);
    await writeTree(tree, { 'public/index.html': '', ...files });
    const { site, description } = await planDeploy(tree, machine);
    assert.equal(site, undefined);
    assert.ok(description.startsWith(`starts with ${starts} `), description);
  }
});

test('a program goes before a plain index.html', async (t) => {
  for (const files of [{ 'index.js': '' }, { 'package.json': express }]) {
    const tree = await temporaryDirectory(t);
    await writeTree(tree, { 'index.html': '', ...files });
    const plan = await planDeploy(tree, machine).catch((error: { code: string }) => error.code);
    assert.ok(plan === 'nothing_to_run' || (typeof plan === 'object' && plan.site === undefined));
  }
});

test('pages in public are not served alone if a directory beside them has the server', async (t) => {
  const tree = await temporaryDirectory(t);
  const tools = { devDependencies: { ws: '8' } };
  const functions = { dependencies: { express: '5', 'firebase-functions': '6' } };
  await writeTree(tree, {
    'public/index.html': '',
    'dev/package.json': tools,
    'functions/package.json': functions,
    'zed/package.json': '{ broken',
  });
  assert.equal((await planDeploy(tree, machine)).site?.from, 'public/index.html');
  await writeTree(tree, { 'chat/package.json': express });
  await assert.rejects(planDeploy(tree, machine), {
    code: 'nothing_to_run',
    hint: 'Write {"root":"chat"} in sluice.json, if chat/package.json belongs to the app. To serve only the pages: {"static":"public"}.',
  });
  await writeTree(tree, { 'sluice.json': { static: 'public' } });
  assert.equal((await planDeploy(tree, machine)).site?.from, 'the setting "static"');
});

test('an error before the build, if nothing can write the site', async (t) => {
  const tree = await temporaryDirectory(t);
  const manifest = { devDependencies: { vite: '*' }, scripts: { dev: 'vite' } };
  await writeTree(tree, { 'package.json': manifest, 'src/main.js': '', 'web/site/index.html': '' });
  await assert.rejects(planDeploy(tree, machine), {
    code: 'nothing_to_run',
    message: 'there is nothing to serve: Vite writes dist/index.html, and that file does not exist',
    hint: 'Set `"static": "web/site"` in sluice.json if the site is there. Directories with an index.html: web/site.',
  });
});

test('an error for a site without a script `build` names the script that may build it', async (t) => {
  const tree = await temporaryDirectory(t);
  const scripts = {
    'build:stage': 'x',
    'build:prod': 'vue-cli-service build',
    preview: 'x',
    postinstall: 'x',
  };
  await writeTree(tree, { 'package.json': { devDependencies: { '@vue/cli-service': '4' }, scripts } });
  const { site } = await planDeploy(tree, machine);
  assert.ok(site);
  await assert.rejects(placeStaticSite(tree, site), {
    code: 'nothing_to_run',
    hint: 'Let Sluice build the app: write {"build": {"command": "build:prod"}} in sluice.json.',
  });
});

test('an error after the build names the directories that exist', async (t) => {
  const tree = await temporaryDirectory(t);
  await writeTree(tree, { ...app('vite'), 'dist/library.js': '', 'src/a.js': '' });
  const { site } = await planDeploy(tree, machine);
  assert.ok(site);
  await assert.rejects(placeStaticSite(tree, site), {
    code: 'nothing_to_run',
    message: 'there is nothing to serve: Vite writes dist/index.html, and that file does not exist',
    hint: /^Check that the "build" script.*Directories of the release: dist, src\.$/,
  });
  await writeTree(tree, { 'sluice.json': { static: 'site' } });
  const named = (await planDeploy(tree, machine)).site;
  assert.ok(named);
  await assert.rejects(placeStaticSite(tree, named), {
    message: 'the setting "static" names the directory site, which does not exist',
  });
});

test('a page for all paths, and the path that a site expects', async (t) => {
  const cases: [what: string, files: Files, plan: object][] = [
    ['200.html', { '200.html': '', 'index.html': '' }, { fallback: '200.html' }],
    [
      'GitHub Pages',
      { 'index.html': '<script src="/shop/assets/a.js">', 'assets/a.js': '' },
      { base: '/shop/' },
    ],
    [
      'a style, two levels, no quotes',
      { 'index.html': '<link href=/a/b/c.css rel=stylesheet>', 'c.css': '' },
      { base: '/a/b/' },
    ],
    ['files where the links point', { 'index.html': '<script src="/a/b.js">', 'a/b.js': '', 'b.js': '' }, {}],
    ['links elsewhere', { 'index.html': '<script src="//x.example/a.js"></script><a href="/a.html">' }, {}],
    ['missing files', { 'index.html': '<script src="/a/b.js">' }, {}],
    ['a path out of the site', { 'index.html': '<script src="/x/../../a.js">', '../a.js': '' }, {}],
  ];
  for (const [what, files, plan] of cases) {
    await t.test(what, async (t) => {
      const tree = await temporaryDirectory(t);
      await writeTree(
        tree,
        Object.fromEntries(Object.entries(files).map(([path, text]) => [`dist/${path}`, text])),
      );
      const site = { from: 'x', directories: ['dist'], isNamed: false, spa: false };
      const expected = { directory: 'dist', fallback: null, base: '/', ...plan };
      assert.deepEqual(await placeStaticSite(tree, site), expected);
    });
  }
});

test('a hostile release does not slow the search', async (t) => {
  const tree = await temporaryDirectory(t);
  const many = Array.from({ length: 10_000 }, (_, at) => [`s${at}`, 'vitex '.repeat(40)]);
  const scripts = { ...Object.fromEntries(many), build: 'nuxt build '.repeat(50_000) };
  const deep = Array.from({ length: 50 }, (_, at) => [`${'x/'.repeat(at)}${at}/a`, '']);
  await writeTree(tree, {
    'package.json': { scripts, devDependencies: { nuxt: '*' } },
    'dist/index.html': `<script src=/${'a'.repeat(900_000)}`,
    'vite.config.js': '\n /* '.repeat(200_000),
    ...Object.fromEntries(deep),
  });
  const site = { from: 'x', directories: ['*/*/*/*/*/*/*/*'], isNamed: false, spa: false };
  const before = process.cpuUsage();
  assert.equal((await planDeploy(tree, machine)).site, undefined);
  assert.equal((await placeStaticSite(tree, site)).directory, 'dist');
  await writeTree(tree, app('vite'));
  assert.equal((await planDeploy(tree, machine)).site?.from, 'Vite');
  const { user } = process.cpuUsage(before);
  assert.ok(user < 2e6, `${user} µs`);
});

test('the search in a hostile configuration takes linear time', async (t) => {
  const directory = await temporaryDirectory(t);
  for (const part of ['\r', '\u2028', ' ', '\n', '/', '//\r', ' *', '/*']) {
    await writeTree(directory, { ...app('vite'), 'vite.config.js': part.repeat(300_000 / part.length) });
    const manifest = await readManifest(directory);
    const before = process.cpuUsage();
    const site = await findStaticSite(directory, manifest, await loadAppSettings(topOf(directory)));
    assert.equal(site?.from, 'Vite');
    const { user } = process.cpuUsage(before);
    assert.ok(user < 2e6, `${JSON.stringify(part)}: ${user} µs`);
  }
});
