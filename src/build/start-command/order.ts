import { join } from 'node:path';
import type { Notice } from '../../protocol/runner.ts';
import { findPlainSite, findStaticSite, type StaticSite } from '../static-site/find.ts';
import { type FoundCommand, followCommand, followScript } from './follow.ts';
import { type Framework, frameworkOf, hasWhatItNeeds } from './frameworks.ts';
import { firstFile, resolveFile } from './program.ts';
import { type Project, readProcfile, staysInside } from './project.ts';
import { noteOtherProcesses } from './wrappers.ts';

/** Start that a rule has found. Before the build, its file may not exist yet. */
export interface Candidate {
  /** rule and its reason, such as `"start:prod" in package.json, because …` */
  rule: string;
  /** command; null if the rule names files */
  command: FoundCommand | null;
  /** files that may start the app, the first that exists wins; `*` stands for one directory */
  files: string[];
  /** static site; undefined for a program */
  site?: StaticSite;
  notices: Notice[];
}

/** Scripts that start an app in production, if `start` does not. */
const productionScripts = ['start:prod', 'start:production', 'serve:prod', 'prod'];

/** Files that Sluice starts if nothing else names the start, the first that exists. */
export const conventionalFiles = ['server', 'index', 'app', 'src/index'].flatMap((name) =>
  ['.js', '.ts', '.mjs', '.cjs'].map((extension) => `${name}${extension}`),
);

/**
 * Returns what may start an app, in the order of the rules: the first whose file exists after the build starts the app. Rules after
 * one that is certain are left out.
 * @throws AppError `unsupported_start`, `invalid_settings`
 */
export async function findCandidates(project: Project): Promise<Candidate[]> {
  const { settings, manifest } = project;
  if (settings.start !== undefined) {
    const from = 'the setting "start"';
    return [ofCommand(from, await followCommand(project, settings.start, from))];
  }
  const site = await findStaticSite(join(project.root, project.app), manifest, settings);
  if (site !== undefined) return [ofSite(site)];
  const scripts = manifest?.scripts ?? {};
  let because = scripts['start'] === undefined ? ', because there is no "start"' : '';
  const watched: Candidate[] = [];
  const take = (rule: string, command: FoundCommand, notices: Notice[] = []): Candidate | undefined => {
    const candidate = ofCommand(rule, command, notices);
    if (command.development === null) return candidate;
    because = `, because ${command.from} is a development command: \`${command.development}\``;
    if (command.isWatched) watched.push(candidate);
    return undefined;
  };
  const processes = await readProcfile(project);
  if (processes?.['web'] !== undefined) {
    const rule = '"web" in Procfile';
    const found = take(rule, await followCommand(project, processes['web'], rule), otherProcesses(processes));
    if (found !== undefined) return [found];
  }
  if (scripts['start'] !== undefined) {
    const found = take('"start" in package.json', await followScript(project, 'start'));
    if (found !== undefined) return [found];
  }
  const afterStart = because;
  for (const name of productionScripts.filter((name) => scripts[name] !== undefined)) {
    const found = take(`"${name}" in package.json${afterStart}`, await followScript(project, name));
    if (found !== undefined) return [found];
  }
  const framework = frameworkOf(manifest);
  const candidates: Candidate[] = [];
  if (framework !== undefined && hasWhatItNeeds(framework, manifest)) {
    const found = await ofFramework(project, framework, afterStart);
    if (found.command !== null) return [found];
    candidates.push(found);
  }
  const direct = watched.map(({ rule, ...candidate }) => ({
    ...candidate,
    rule: `${rule}, without its watcher`,
  }));
  const all = [...candidates, ...direct, ...(await conventional(project))];
  if (all.length > 0 || project.mayBuild) return all;
  return await plainSite(project);
}

/** Returns the site of an app that has nothing else to run now. */
export async function plainSite({ root, app, manifest }: Project): Promise<Candidate[]> {
  const site = await findPlainSite(join(root, app), manifest);
  return site === undefined ? [] : [ofSite(site)];
}

function ofSite(site: StaticSite): Candidate {
  return { rule: site.from, command: null, files: [], site, notices: [] };
}

function otherProcesses(processes: Record<string, string>): Notice[] {
  const notices: Notice[] = [];
  noteOtherProcesses({ notices }, processes, 'web');
  return notices;
}

async function ofFramework(project: Project, framework: Framework, because: string): Promise<Candidate> {
  const { name, command, files = [] } = framework;
  const rule = `${command === undefined ? 'output' : 'program'} of ${name}${because}`;
  if (command !== undefined) return ofCommand(rule, await followCommand(project, command, name));
  return ofFiles(project, rule, files);
}

/** Returns the candidates that package.json and the names of files give. */
async function conventional(project: Project): Promise<Candidate[]> {
  const { root, app, manifest, mayBuild } = project;
  const { main, bin } = manifest ?? {};
  const bins = typeof bin === 'string' ? [bin] : Object.values(bin ?? {});
  const named = [
    ...(main === undefined ? [] : [{ rule: '"main" in package.json', path: main }]),
    ...(bins.length === 1 ? bins.map((path) => ({ rule: '"bin" in package.json', path })) : []),
  ];
  const candidates: Candidate[] = [];
  for (const { rule, path } of named.filter(({ path }) => path !== '' && staysInside(path))) {
    const exists = (await resolveFile(root, join(app, path))) !== undefined;
    if (exists || mayBuild) candidates.push(ofFiles(project, rule, withExtension(path)));
  }
  const file = await firstFile(join(root, app), conventionalFiles);
  if (file !== undefined) candidates.push(ofFiles(project, `the file ${file}`, [file]));
  return candidates;
}

/** @param files relative to the app */
function ofFiles({ app }: Project, rule: string, files: string[]): Candidate {
  return { rule, command: null, files: files.map((file) => join(app, file)), notices: [] };
}

/** Returns the files that `require(path)` may find. */
function withExtension(path: string): string[] {
  return [path, `${path}.js`, `${path.replace(/\/$/, '')}/index.js`];
}

function ofCommand(rule: string, command: FoundCommand, notices: Notice[] = []): Candidate {
  return { rule, command, files: [], notices: [...notices, ...command.notices] };
}
