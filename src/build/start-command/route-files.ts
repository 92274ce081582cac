import { existsSync, realpathSync } from 'node:fs';
import type { Manifest } from '../../config/package-manifest.ts';
import { filesIn } from './files-in.ts';

/** Files that a framework runs for requests, although no file of the app imports them. */
interface Routes {
  /** packages of the framework, separated by spaces */
  packages: string;
  directories: string[];
  /** names of files that run on the server */
  file: RegExp;
}

const script = /(?<!\.d|\.test|\.spec)\.[cm]?[jt]s$/;

const routes: Routes[] = [
  {
    packages: 'nuxt nuxt-nightly nuxt3 nitropack nitro @analogjs/platform',
    directories: ['server', 'src/server', 'routes', 'api'],
    file: script,
  },
  { packages: 'next', directories: ['pages/api', 'src/pages/api'], file: script },
  { packages: 'next', directories: ['app', 'src/app'], file: /^(?:route|actions?)\.[jt]s$/ },
  { packages: '@sveltejs/kit', directories: ['src/routes'], file: /^\+.*server\.[jt]s$/ },
  { packages: 'astro @solidjs/start vinxi', directories: ['src/pages', 'src/routes'], file: script },
  {
    packages: '@remix-run/node @react-router/node',
    directories: ['app/routes'],
    file: /(?<!\.test|\.spec)\.[jt]sx?$/,
  },
];

/** Returns the files of an app that its frameworks run for requests, relative to `directory`, as far as the limits of a search allow. */
export function routeFiles(directory: string, manifest: Manifest | undefined): string[] {
  if (manifest === undefined || !existsSync(directory)) return [];
  const { dependencies, devDependencies } = manifest;
  const all = { ...dependencies, ...devDependencies };
  const app = realpathSync(directory);
  return routes
    .filter(({ packages }) => packages.split(' ').some((name) => Object.hasOwn(all, name)))
    .flatMap(({ directories, file }) => [...filesIn(app, directories, file)]);
}
