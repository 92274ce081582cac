import type { Manifest } from '../../config/package-manifest.ts';

/** Framework whose build writes a server, or whose own program starts one. */
export interface Framework {
  name: string;
  /** the app uses the framework if it depends on one of these packages */
  packages: string[];
  /** versions of the package; undefined for all */
  versions?: RegExp;
  /** files that the build may write, the most usual first; `*` stands for one directory */
  files?: string[];
  /** command that starts the app, in place of files */
  command?: string;
  /** package without which the build writes no server for Node.js, and how to add it */
  needs?: { package: string; hint: string };
}

/** Frameworks, the more specific first: many are built on others. */
const frameworks: Framework[] = [
  { name: 'Strapi', packages: ['@strapi/strapi', 'strapi'], command: 'strapi start' },
  { name: 'KeystoneJS', packages: ['@keystone-6/core'], command: 'keystone start' },
  { name: 'Medusa', packages: ['@medusajs/medusa'], command: 'medusa start' },
  { name: 'Directus', packages: ['directus'], command: 'directus start' },
  { name: 'Blitz', packages: ['blitz'], command: 'blitz start' },
  { name: 'RedwoodJS', packages: ['@redwoodjs/core'], command: 'rw serve' },
  { name: 'Waku', packages: ['waku'], command: 'waku start' },
  { name: 'Next.js', packages: ['next'], command: 'next start' },
  { name: 'Nuxt 2', packages: ['nuxt', 'nuxt-start'], versions: /^[~^]?2/, command: 'nuxt start' },
  {
    name: 'Analog',
    packages: ['@analogjs/platform'],
    files: ['dist/analog/server/index.mjs', 'dist/*/analog/server/index.mjs'],
  },
  {
    name: 'Nuxt or Nitro',
    packages: ['nuxt', 'nuxt-nightly', 'nuxt3', 'nitropack', 'nitro'],
    files: ['.output/server/index.mjs'],
  },
  {
    name: 'SolidStart or Vinxi',
    packages: ['@solidjs/start', 'vinxi'],
    files: ['.output/server/index.mjs'],
  },
  {
    name: 'TanStack Start',
    packages: ['@tanstack/react-start', '@tanstack/solid-start', '@tanstack/start'],
    files: ['.output/server/index.mjs', 'dist/server/server.js'],
  },
  {
    name: 'SvelteKit',
    packages: ['@sveltejs/kit'],
    files: ['build/index.js'],
    needs: {
      package: '@sveltejs/adapter-node',
      hint: 'Run `npm install -D @sveltejs/adapter-node`, and import `adapter` from it in svelte.config.js.',
    },
  },
  {
    name: 'Astro',
    packages: ['astro'],
    files: ['dist/server/entry.mjs'],
    needs: {
      package: '@astrojs/node',
      hint: 'Run `npx astro add node`, which adds the adapter for Node.js.',
    },
  },
  {
    name: 'React Router',
    packages: ['@react-router/serve'],
    command: 'react-router-serve ./build/server/index.js',
  },
  {
    name: 'Remix',
    packages: ['@remix-run/serve'],
    versions: /^[~^]?2/,
    command: 'remix-serve ./build/server/index.js',
  },
  { name: 'Remix', packages: ['@remix-run/serve'], command: 'remix-serve build' },
  {
    name: 'React Router',
    packages: ['@react-router/dev'],
    files: ['build/server/index.js'],
    needs: {
      package: '@react-router/serve',
      hint: 'Run `npm install @react-router/serve`, and set "start" to `react-router-serve ./build/server/index.js`.',
    },
  },
  { name: 'AdonisJS', packages: ['@adonisjs/core'], files: ['build/bin/server.js', 'build/server.js'] },
  {
    name: 'NestJS',
    packages: ['@nestjs/core'],
    files: ['dist/main.js', 'dist/src/main.js', 'dist/apps/*/main.js', 'dist/apps/*/src/main.js'],
  },
  {
    name: 'Angular SSR',
    packages: ['@angular/ssr', '@nguniversal/express-engine'],
    files: ['dist/*/server/server.mjs', 'dist/*/server/main.js', 'dist/server/server.mjs'],
  },
  {
    name: 'Qwik City',
    packages: ['@builder.io/qwik-city', '@qwik.dev/router'],
    files: ['server/entry.express.js', 'server/entry.fastify.js', 'server/entry.node-server.js'],
  },
  {
    name: 'Nx',
    packages: ['nx', '@nx/workspace', '@nrwl/cli', '@nrwl/workspace'],
    files: ['dist/main.js', 'dist/*/main.js', 'dist/apps/*/main.js', 'apps/*/dist/main.js'],
  },
  { name: 'LoopBack', packages: ['@loopback/core'], files: ['dist/index.js', 'index.js'] },
  { name: 'FoalTS', packages: ['@foal/core'], files: ['build/index.js'] },
  { name: 'Midway', packages: ['@midwayjs/bootstrap'], files: ['bootstrap.js'] },
  { name: 'Marko', packages: ['@marko/run'], files: ['dist/index.mjs'] },
  { name: 'Sails', packages: ['sails'], files: ['app.js'] },
  { name: 'Feathers', packages: ['@feathersjs/feathers'], files: ['lib/index.js', 'src/index.js'] },
];

/** Returns the framework of an app; undefined if none is known. */
export function frameworkOf(manifest: Manifest | undefined): Framework | undefined {
  const dependencies = { ...manifest?.devDependencies, ...manifest?.dependencies };
  return frameworks.find(({ packages, versions }) =>
    packages.some((name) => {
      const version = Object.hasOwn(dependencies, name) ? dependencies[name] : undefined;
      return version !== undefined && (versions === undefined || versions.test(version));
    }),
  );
}

/** Returns true if an app has the package that its framework needs to build a server. */
export function hasWhatItNeeds({ needs }: Framework, manifest: Manifest | undefined): boolean {
  if (needs === undefined) return true;
  return Object.hasOwn({ ...manifest?.devDependencies, ...manifest?.dependencies }, needs.package);
}

/** Returns true if a program starts a framework, such as `next`. */
export function isFrameworkProgram(program: string): boolean {
  return frameworks.some(({ command }) => command?.split(' ', 1)[0] === program);
}
