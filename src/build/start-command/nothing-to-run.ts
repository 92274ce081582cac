import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError } from '../../errors/app-error.ts';
import { isMissing } from '../../system/fs/read-file.ts';
import { publicName } from '../static-site/find.ts';
import { frameworkOf, hasWhatItNeeds } from './frameworks.ts';
import { firstFile } from './program.ts';
import { type Project, readProcfile } from './project.ts';
import { servingScript } from './serving-script.ts';

/** Files that often start an app, in places that no rule covers. */
const usualFiles =
  `main start bin/www bin/server server/index server/server server/app server/main src/server src/app src/main
  src/bin/www api/index api/server backend/index backend/server backend/app lib/index lib/server lib/app dist/index dist/server
  dist/main build/index build/server index app server www`
    .split(/\s+/)
    .flatMap((name) =>
      name.includes('www') ? [name] : ['.js', '.ts', '.mjs', '.cjs'].map((ending) => `${name}${ending}`),
    );

/** Directories that often hold the app of a repository. */
const usualDirectories = ['server', 'backend', 'api', 'app', 'web', 'src', '*', 'apps/*', 'packages/*'];

/**
 * Returns the error for an app without a start. The message lists what exists, and the hint has the line of sluice.json that would
 * work.
 * @param tried rules that named files which do not exist, such as `"main" in package.json (lib.js)`
 */
export async function nothingToRun(
  project: Project,
  tried: string[],
  developmentCommand: string | null,
): Promise<AppError> {
  const { manifest } = project;
  const root = join(project.root, project.app);
  const framework = frameworkOf(manifest);
  const scripts = Object.keys(manifest?.scripts ?? {});
  const procfile = await readProcfile(project);
  const files = await topFiles(root);
  const found = [
    manifest === undefined
      ? 'no package.json'
      : `package.json ${scripts.length === 0 ? 'without scripts' : `with the scripts ${list(scripts)}`}`,
    ...(framework === undefined ? [] : [`the framework ${framework.name}`]),
    ...(procfile === undefined ? [] : [`a Procfile with ${list(Object.keys(procfile))}`]),
    ...(files.length === 0 ? [] : [`the files ${list(files)}`]),
  ];
  const why =
    developmentCommand === null
      ? 'no start command and no server file'
      : `only a development command: \`${developmentCommand}\``;
  const message = [
    `there is nothing to run: the app has ${why}`,
    ...tried.map((rule) => `${rule} does not exist`),
    `found: ${found.join('; ')}`,
  ].join('\n  ');
  if (framework !== undefined && !hasWhatItNeeds(framework, manifest)) {
    const { name, needs } = framework;
    return new AppError(
      'nothing_to_run',
      `${message}\n  ${name} builds no server without ${needs?.package}`,
      {
        hint: needs?.hint ?? '',
      },
    );
  }
  return new AppError('nothing_to_run', message, { hint: await hintFor(project) });
}

/** Returns the line of sluice.json that most likely works. */
async function hintFor(project: Project): Promise<string> {
  const at = join(project.root, project.app);
  const line = (settings: object) => `Write ${JSON.stringify(settings)} in sluice.json`;
  const script = servingScript(project.manifest);
  if (script !== undefined) return `${line({ start: `npm run ${script}` })}.`;
  const file = await firstFile(at, usualFiles);
  if (file !== undefined) return `${line({ start: `node ${file}` })}, or name another file.`;
  const inside = await firstFile(
    at,
    usualDirectories.flatMap((directory) =>
      ['package.json', 'server.js', 'index.js'].map((name) => `${directory}/${name}`),
    ),
  );
  if (inside !== undefined) {
    const pages = await firstFile(at, [`${publicName}/index.html`]);
    const onlyPages = pages && ` To serve only the pages: ${JSON.stringify({ static: publicName })}.`;
    return `${line({ root: dirname(inside) })}, if ${inside} belongs to the app.${onlyPages ?? ''}`;
  }
  return `${line({ start: 'node FILE' })}, with the file that starts the server. If the app is in a subdirectory, name it as "root".`;
}

/** Files at the top of the app that could be programs. */
async function topFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return [];
  });
  const isProgram = (name: string) =>
    /\.(?:[cm]?[jt]s|html|py|php|rb|go|jar|sh)$/.test(name) && !/\.config\./.test(name);
  return entries
    .filter((entry) => entry.isFile() && isProgram(entry.name))
    .map(({ name }) => name)
    .sort();
}

/** Limit of the names in a list of a message. */
const maxListed = 12;

function list(names: string[]): string {
  const more = names.length - maxListed;
  return [...names.slice(0, maxListed), ...(more > 0 ? [`${more} more`] : [])].join(', ');
}
