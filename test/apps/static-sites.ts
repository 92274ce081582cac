import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { fetchText } from '../support/http.ts';
import { startSluice } from '../support/server.ts';
import type { Files } from '../support/tree.ts';
import { wholeFile } from '../support/whole-file.ts';

/** Site of a build tool, with what the log of its deploy says. */
interface Tool {
  name: string;
  files: Files;
  log: string;
  /** path of the page; `/` by default */
  page?: string;
  /** false if the tool gives the files of the page no hash */
  hashed?: boolean;
}

function app(packages: Record<string, string>, scripts: Record<string, string>, more: Files = {}): Files {
  const manifest = { private: true, type: 'module', scripts, devDependencies: packages };
  return { 'package.json': manifest, 'sluice.json': { settleTime: '20ms' }, ...more };
}

const page = '<!doctype html><title>x</title><div id="root"></div><h1>release</h1>';
const withScript = `${page}<script type="module" src="/src/main.js"></script>`;
const script = {
  'index.html': withScript,
  'src/main.js': "import './main.css'; document.title = 'y';",
  'src/main.css': 'h1 {color: red}',
};

const tools: Tool[] = [
  {
    name: 'vite',
    files: app({ vite: '8.4.0' }, { dev: 'vite', build: 'vite build', preview: 'vite preview' }, script),
    log: 'serves dist as a single-page app (Vite), in 1 worker',
  },
  {
    name: 'vite-for-pages',
    files: app(
      { vite: '8.4.0' },
      { start: 'vite', build: 'vite build' },
      {
        ...script,
        'vite.config.js': "export default { base: '/shop/', build: { outDir: 'docs' } };",
      },
    ),
    log: 'serves docs at /shop/ as a single-page app (Vite), in 1 worker',
    page: '/shop/',
  },
  {
    name: 'parcel',
    files: app(
      { parcel: '2.16.4' },
      { start: 'parcel index.html', build: 'parcel build index.html --no-source-maps' },
      script,
    ),
    log: 'serves dist (Parcel), in 1 worker',
  },
  {
    name: 'rsbuild',
    files: app(
      { '@rsbuild/core': '2.3.2' },
      { dev: 'rsbuild dev', build: 'rsbuild build' },
      {
        'src/index.js': "document.body.innerHTML = '<h1>release</h1>';",
        'rsbuild.config.mjs': "export default { html: { title: 'release' } };",
      },
    ),
    log: 'serves dist as a single-page app (Rsbuild), in 1 worker',
  },
  {
    name: 'astro',
    files: app(
      { astro: '7.3.5' },
      { start: 'astro dev', build: 'astro build' },
      {
        'src/pages/index.astro': `<html><body><h1>release</h1><style>h1 { color: red; }</style></body></html>`,
        'astro.config.mjs': "export default { build: { inlineStylesheets: 'never' } };",
      },
    ),
    log: 'serves dist (Astro), in 1 worker',
  },
  {
    name: 'eleventy',
    files: app(
      { '@11ty/eleventy': '3.1.8' },
      { start: 'eleventy --serve', build: 'eleventy' },
      { 'index.md': '# release' },
    ),
    log: 'serves _site (Eleventy), in 1 worker',
    hashed: false,
  },
  {
    name: 'vitepress',
    files: app(
      { vitepress: '1.6.4', vue: '^3' },
      { dev: 'vitepress dev docs', build: 'vitepress build docs' },
      { 'docs/index.md': '# release' },
    ),
    log: 'serves docs/.vitepress/dist (VitePress), in 1 worker',
  },
  {
    name: 'hexo',
    files: {
      'package.json': {
        private: true,
        hexo: { version: '8.1.2' },
        scripts: { build: 'hexo generate', server: 'hexo server' },
        dependencies: {
          hexo: '8.1.2',
          'hexo-generator-index': '^4',
          'hexo-renderer-ejs': '^2',
          'hexo-renderer-marked': '^7',
        },
      },
      'sluice.json': { settleTime: '20ms' },
      '_config.yml': 'title: release\ntheme: plain\n',
      'source/_posts/one.md': '---\ntitle: one\n---\ntext\n',
      'themes/plain/layout/index.ejs': '<h1><%= config.title %></h1>',
    },
    log: 'serves public (Hexo), in 1 worker',
    hashed: false,
  },
  {
    name: 'next',
    files: app(
      {},
      { dev: 'next dev', build: 'next build', start: 'next start' },
      {
        'package.json': {
          private: true,
          scripts: { dev: 'next dev', build: 'next build', start: 'next start' },
          dependencies: { next: '16', react: '19', 'react-dom': '19' },
        },
        'next.config.mjs': "export default { output: 'export' };",
        'app/layout.js': 'export default ({ children }) => <html><body>{children}</body></html>;',
        'app/page.js': 'export default () => <h1>release</h1>;',
      },
    ),
    log: 'serves out (Next.js export), in 1 worker',
  },
  {
    name: 'sveltekit',
    files: app(
      {
        '@sveltejs/adapter-static': '4.0.1',
        '@sveltejs/kit': 'latest',
        '@sveltejs/vite-plugin-svelte': 'latest',
        svelte: '^5',
        vite: '8.4.0',
      },
      { dev: 'vite dev', build: 'vite build' },
      {
        'vite.config.js':
          "import adapter from '@sveltejs/adapter-static'; import { sveltekit } from '@sveltejs/kit/vite'; export default { plugins: [sveltekit({ adapter: adapter() })] };",
        'src/app.html':
          '<!doctype html><html><head>%sveltekit.head%</head><body>%sveltekit.body%</body></html>',
        'src/routes/+page.svelte': '<h1>release</h1>',
        'src/routes/+layout.js': 'export const prerender = true;',
      },
    ),
    log: 'serves build (SvelteKit adapter-static), in 1 worker',
  },
  {
    name: 'create-react-app',
    files: {
      'package.json': {
        private: true,
        scripts: { start: 'react-scripts start', build: 'react-scripts build' },
        dependencies: { react: '18', 'react-dom': '18', 'react-scripts': '5.0.1' },
        browserslist: ['last 2 versions'],
      },
      'sluice.json': { settleTime: '20ms' },
      'public/index.html': page,
      'src/index.js': "import './index.css'; document.title = 'y';",
      'src/index.css': 'h1 { color: red; }',
    },
    log: 'serves build as a single-page app (Create React App), in 1 worker',
  },
  {
    name: 'docusaurus',
    files: {
      'package.json': {
        private: true,
        scripts: { start: 'docusaurus start', build: 'docusaurus build', serve: 'docusaurus serve' },
        dependencies: {
          '@docusaurus/core': '3.10.2',
          '@docusaurus/preset-classic': '3.10.2',
          react: '19',
          'react-dom': '19',
        },
      },
      'sluice.json': { settleTime: '20ms' },
      'docusaurus.config.js': `module.exports = {
        title: 'release', url: 'https://x.example', baseUrl: '/shop/',
        presets: [['classic', { docs: false, blog: false }]],
      };`,
      'src/pages/index.js': 'export default () => <h1>release</h1>;',
    },
    log: 'serves build at /shop/ (Docusaurus), in 1 worker',
    page: '/shop/',
  },
  {
    name: 'angular',
    files: {
      'package.json': {
        private: true,
        scripts: { start: 'ng serve', build: 'ng build' },
        dependencies: Object.fromEntries(
          ['common', 'compiler', 'core', 'platform-browser'].map((name) => [`@angular/${name}`, '^22']),
        ),
        devDependencies: Object.fromEntries(
          ['build', 'cli', 'compiler-cli'].map((name) => [`@angular/${name}`, '^22']),
        ),
      },
      'sluice.json': { settleTime: '20ms' },
      'angular.json': {
        version: 1,
        projects: {
          shop: {
            projectType: 'application',
            root: '',
            sourceRoot: 'src',
            architect: {
              build: {
                builder: '@angular/build:application',
                options: {
                  browser: 'src/main.ts',
                  index: 'src/index.html',
                  outputHashing: 'all',
                  tsConfig: 'tsconfig.json',
                },
              },
            },
          },
        },
      },
      'tsconfig.json': {
        compilerOptions: { module: 'preserve', target: 'es2022', moduleResolution: 'bundler', strict: true },
        files: ['src/main.ts'],
      },
      'src/index.html': `${page}<app-root></app-root>`,
      'src/main.ts': `
        import { Component } from '@angular/core';
        import { bootstrapApplication } from '@angular/platform-browser';
        @Component({ selector: 'app-root', template: 'angular' }) class App {}
        bootstrapApplication(App);`,
    },
    log: 'serves dist/shop/browser as a single-page app (Angular), in 1 worker',
  },
];

const sluice = await startSluice(wholeFile, { check: true });
const silent = { NEXT_TELEMETRY_DISABLED: '1', ASTRO_TELEMETRY_DISABLED: '1' };

for (const { name, files, log, page = '/', hashed = true } of tools) {
  test(`a site of ${name} is built and served`, async (t) => {
    await sluice.call('PATCH', `/v1/apps/${name}/env`, silent);
    await deploy(name, files);
    t.after(() => sluice.call('POST', `/v1/apps/${name}/stop`));
    const { port } = await sluice.status(name);
    const { releases } = sluice.paths.environment({ app: name, environment: 'production' });
    const lines = (await readFile(`${releases}/1/.sluice/build.log`, 'utf8')).split('\n');
    assert.deepEqual(
      lines.filter((line) => line.startsWith('serves ')),
      [log],
    );
    const { status, body } = await fetchText(port, page);
    assert.equal(status, 200);
    assert.match(body, /release/);
    const linked = [...body.matchAll(/(?:src|href)="?((?!https?:)[^">\s]+\.(?:js|css))(?=[">\s])/g)].map(
      ([, path = '']) => path,
    );
    const answers = await Promise.all(
      linked.map((path) => fetchText(port, new URL(path, `http://x${page}`).pathname)),
    );
    assert.deepEqual(
      answers.filter((answer) => answer.status !== 200),
      [],
    );
    const fixed = answers.filter(({ headers }) => /immutable/.test(headers['cache-control'] ?? ''));
    assert.equal(fixed.length > 0, hashed, linked.join(' '));
  });
}

/** Deploys as a stream: some builds take longer than `fetch` waits for the head of an answer. */
async function deploy(name: string, files: Files): Promise<void> {
  for await (const event of sluice.watchDeploy(name, files)) {
    if (event.event === 'failed') assert.fail(`${event.error.message}\n${event.error.hint}`);
  }
}
