/** Tool that writes a static site, and the places of its output. */
export interface StaticTool {
  /** for the log */
  name: string;
  /** packages of which the app has one, in any kind of dependencies */
  packages: string[];
  /** output directories, the likeliest first; `*` stands for any name */
  directories: string[];
  /** true if pages read the path in the browser, so that each path gets index.html; undefined if the packages of the app decide */
  spa?: boolean;
  /** commands of the tool that serve the site for development or for a preview */
  servers: RegExp;
  /** packages of frameworks and adapters with which the build writes a server */
  unless?: string[];
  /** text in a configuration file without which the tool writes a server */
  option?: { files: string[]; pattern: RegExp };
  /** file of a build that has written a server instead, and the command that starts this server */
  server?: { file: string; command: string };
  /** script without which the tool writes a server */
  script?: RegExp;
  /**
   * Text that a file, or a file that it imports, must contain if `start` runs the file with Node.js. Set for a tool that is also a proxy in front of servers:
   * the tool counts only if `start` matches `servers` and no other file listens.
   */
  onlyByStart?: RegExp;
  /** text in a configuration file that names the output directory: its first group */
  output?: { files: string[]; pattern: RegExp };
}

const viteConfig = ['js', 'ts', 'mjs', 'mts', 'cjs', 'cts'].map((type) => `vite.config.${type}`);
const nextConfig = ['js', 'mjs', 'ts', 'cjs'].map((type) => `next.config.${type}`);

/**
 * Tools, those that build on others first: SvelteKit, for example, builds with Vite. The first tool that an app has decides: if its
 * conditions are not met, the app is a server.
 * Sources: the documentation of each tool about its output, and about deploys of static files.
 */
export const staticTools: StaticTool[] = [
  {
    name: 'Next.js export',
    packages: ['next'],
    directories: ['out'],
    spa: false,
    servers: /^next(?: (?:dev|start)\b|$)/,
    // A condition may decide the option.
    server: { file: '.next/BUILD_ID', command: 'next start' },
    option: { files: nextConfig, pattern: /\boutput\s*:\s*['"`]export['"`]/ },
    output: { files: nextConfig, pattern: /\bdistDir\s*:\s*['"`]([^'"`\n]+)['"`]/ },
  },
  {
    name: 'Nuxt generate',
    packages: ['nuxt', 'nuxt3', 'nuxt-edge'],
    directories: ['.output/public', 'dist'],
    spa: false,
    servers: /^(?:nuxt|nuxi)(?: (?:dev|start|preview)\b|$)/,
    script: /\b(?:nuxt|nuxi) generate\b|\b(?:nuxt|nuxi) build .*--prerender\b/,
  },
  {
    name: 'SvelteKit adapter-static',
    packages: ['@sveltejs/adapter-static'],
    directories: ['build'],
    // Without a page `200.html` or `404.html`, SvelteKit writes an index.html that reads the path.
    spa: false,
    servers: /^(?:vite|svelte-kit)(?: (?:dev|serve|preview)\b| -|$)/,
    unless: ['@sveltejs/adapter-node', 'svelte-adapter-bun', 'svelte-adapter-uws'],
  },
  {
    name: 'Astro',
    packages: ['astro'],
    directories: ['dist'],
    spa: false,
    servers: /^astro (?:dev|preview|start)\b/,
    unless: ['@astrojs/node', '@astrojs/vercel', '@astrojs/netlify', '@astrojs/cloudflare', '@astrojs/deno'],
    output: {
      files: ['mjs', 'ts', 'js', 'mts'].map((type) => `astro.config.${type}`),
      pattern: /\boutDir\s*:\s*['"`]([^'"`\n]+)['"`]/,
    },
  },
  {
    name: 'React Router without a server',
    packages: ['@react-router/dev'],
    directories: ['build/client'],
    spa: true,
    servers: /^(?:react-router dev|vite preview)\b/,
    option: { files: ['react-router.config.ts', 'react-router.config.js'], pattern: /\bssr\s*:\s*false\b/ },
  },
  {
    name: 'Remix without a server',
    packages: ['@remix-run/dev'],
    directories: ['build/client'],
    spa: true,
    servers: /^(?:remix vite:dev|vite preview)\b/,
    option: { files: viteConfig, pattern: /\bssr\s*:\s*false\b/ },
  },
  {
    name: 'Gatsby',
    packages: ['gatsby'],
    directories: ['public'],
    spa: false,
    servers: /^gatsby (?:develop|serve)\b/,
  },
  {
    name: 'Docusaurus',
    packages: ['@docusaurus/core'],
    directories: ['build'],
    spa: false,
    servers: /^docusaurus (?:start|serve)\b/,
  },
  {
    name: 'VitePress',
    packages: ['vitepress'],
    directories: ['.vitepress/dist', 'docs/.vitepress/dist', '*/.vitepress/dist'],
    spa: false,
    servers: /^vitepress (?:dev|serve|preview)\b/,
  },
  {
    name: 'VuePress',
    packages: ['vuepress', '@vuepress/cli'],
    directories: ['.vuepress/dist', 'docs/.vuepress/dist', '*/.vuepress/dist'],
    spa: false,
    servers: /^vuepress(?:-vite|-webpack)? (?:dev|serve)\b/,
  },
  {
    name: 'Rspress',
    packages: ['rspress', '@rspress/core'],
    directories: ['doc_build'],
    spa: false,
    servers: /^rspress (?:dev|preview)\b/,
  },
  {
    name: 'Eleventy',
    packages: ['@11ty/eleventy'],
    directories: ['_site'],
    spa: false,
    servers: /^(?:@11ty\/)?eleventy .*--serve\b/,
    output: {
      files: ['.eleventy.js', ...['js', 'cjs', 'mjs', 'ts'].map((type) => `eleventy.config.${type}`)],
      pattern: /\boutput\s*:\s*['"`]([^'"`\n]+)['"`]/,
    },
  },
  {
    name: 'Hexo',
    packages: ['hexo'],
    directories: ['public'],
    spa: false,
    servers: /^hexo (?:s|server)\b/,
  },
  {
    name: 'Gridsome',
    packages: ['gridsome'],
    directories: ['dist'],
    spa: false,
    servers: /^gridsome develop\b/,
  },
  {
    name: 'Create React App',
    packages: ['react-scripts', 'react-app-rewired', '@craco/craco'],
    directories: ['build'],
    spa: true,
    servers: /^(?:react-scripts|react-app-rewired|craco) start\b/,
  },
  {
    // As `react-scripts eject` leaves it.
    name: 'Create React App',
    packages: ['react-dev-utils'],
    directories: ['build'],
    spa: true,
    servers: /^node (?:\.\/)?scripts\/start\b/,
  },
  {
    name: 'Angular',
    packages: ['@angular/cli', '@angular/build', '@angular-devkit/build-angular'],
    directories: ['dist/*/browser', 'dist/browser', 'dist/*', 'dist'],
    spa: true,
    servers: /^ng (?:s|serve|dev)\b/,
    unless: ['@angular/ssr', '@angular/platform-server', '@nguniversal/express-engine', '@analogjs/platform'],
    output: { files: ['angular.json'], pattern: /"outputPath"\s*:\s*"([^"\n]+)"/ },
  },
  {
    name: 'Vue CLI',
    packages: ['@vue/cli-service'],
    directories: ['dist'],
    spa: true,
    servers: /^vue-cli-service serve\b/,
    output: {
      files: ['vue.config.js', 'vue.config.cjs'],
      pattern: /\boutputDir\s*:\s*['"`]([^'"`\n]+)['"`]/,
    },
  },
  {
    name: 'Quasar',
    packages: ['@quasar/app-vite', '@quasar/app-webpack'],
    directories: ['dist/spa', 'dist/pwa'],
    spa: true,
    servers: /^quasar (?:dev|serve)\b/,
  },
  {
    name: 'Ember',
    packages: ['ember-cli'],
    directories: ['dist'],
    spa: true,
    servers: /^(?:ember (?:s|serve|server)|vite)\b/,
  },
  {
    name: 'Preact CLI',
    packages: ['preact-cli'],
    directories: ['build'],
    spa: true,
    servers: /^preact (?:watch|serve)\b/,
  },
  {
    name: 'Umi',
    packages: ['umi', '@umijs/max'],
    directories: ['dist'],
    spa: true,
    servers: /^(?:umi|max) (?:dev|preview)\b/,
  },
  {
    name: 'Stencil',
    packages: ['@stencil/core'],
    directories: ['www'],
    spa: true,
    servers: /^stencil build .*--serve\b/,
  },
  {
    name: 'Slidev',
    packages: ['@slidev/cli'],
    directories: ['dist'],
    spa: true,
    servers: /^slidev(?: (?!build|export)|$)/,
  },
  {
    name: 'Rsbuild',
    packages: ['@rsbuild/core'],
    directories: ['dist'],
    spa: true,
    servers: /^rsbuild (?:dev|preview)\b/,
  },
  {
    name: 'Snowpack',
    packages: ['snowpack'],
    directories: ['build'],
    spa: true,
    servers: /^snowpack dev\b/,
  },
  {
    name: 'Vite',
    packages: ['vite', 'rolldown-vite'],
    directories: ['dist', '*/dist'],
    spa: true,
    servers: /^vite(?: (?:dev|serve|preview)\b| -|$)/,
    unless: [
      '@sveltejs/kit',
      '@solidjs/start',
      '@tanstack/react-start',
      '@tanstack/solid-start',
      '@analogjs/platform',
      '@builder.io/qwik-city',
      '@qwik.dev/router',
      'laravel-vite-plugin',
      'vike',
      'vite-plugin-ssr',
      'vinxi',
    ],
    output: { files: viteConfig, pattern: /\boutDir\s*:\s*['"`]([^'"`\n]+)['"`]/ },
  },
  {
    name: 'Parcel',
    packages: ['parcel', 'parcel-bundler'],
    directories: ['dist'],
    servers: /^parcel (?!build\b|watch\b)/,
  },
  {
    name: 'webpack',
    packages: ['html-webpack-plugin'],
    directories: ['dist', 'build', 'public'],
    servers: /^webpack(?: serve|-dev-server)\b/,
  },
  {
    // Serves a site that scripts of the app or gulp write.
    name: 'Browsersync',
    packages: ['browser-sync'],
    directories: ['dist', 'build', '_site', 'public', '.'],
    spa: false,
    unless: ['gulp-nodemon', 'gulp-develop-server', 'gulp-live-server', 'gulp-express'],
    onlyByStart: /\bbrowser-sync\b/,
    servers: /^(?:node (?:\.\/)?scripts\/start\b|gulp(?: (?:watch|serve|dev|default)\b|$))/,
  },
];

/** Programs that serve any directory. */
export const fileServers = /^(?:serve|http-server|live-server|lite-server|browser-sync|sirv|sirv-cli)\b/;

/** Packages of servers: an app that has one is most likely more than its static files. */
export const serverPackages = new Set([
  'express',
  'koa',
  'fastify',
  'hono',
  '@hono/node-server',
  '@hapi/hapi',
  '@nestjs/core',
  '@adonisjs/core',
  '@feathersjs/feathers',
  '@feathersjs/koa',
  '@feathersjs/express',
  'restify',
  'polka',
  'h3',
  'nitropack',
  'socket.io',
  'ws',
  'apollo-server',
  '@apollo/server',
  'graphql-yoga',
  'json-server',
  '@strapi/strapi',
  'payload',
  'directus',
  'sails',
  'meteor-node-stubs',
  'moleculer-web',
  'elysia',
  'probot',
]);

/** Packages of apps that most often read the path in the browser. */
export const clientPackages = new Set([
  'react-dom',
  'preact',
  'vue',
  'svelte',
  'solid-js',
  '@angular/core',
  'react-router-dom',
  'vue-router',
]);

/** Directories that build tools write to, if no other rule names one. */
export const usualOutputs = ['dist', 'build', 'out', '_site', 'www'];
