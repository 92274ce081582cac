import { join, relative } from 'node:path';
import type { NamedStart } from '../../config/app-directory.ts';
import { isWorkspace, type Member } from '../../config/workspaces.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import {
  findPlainSite,
  findStaticSite,
  hasServerPackage,
  isSiteSource,
  isTaskFile,
  type StaticSite,
} from '../static-site/find.ts';
import { fileServers } from '../static-site/tools.ts';
import { type FoundCommand, followCommand, followScript, NoNodeProgram } from './follow.ts';
import { type Framework, frameworkOf, hasWhatItNeeds, isFrameworkProgram } from './frameworks.ts';
import { isLibraryOf } from './library.ts';
import { listens } from './listens.ts';
import { membersAround, membersHint } from './members.ts';
import { checkTarget, firstFile, resolveFile } from './program.ts';
import { type Project, procfileName, readProcfile, readProject, relativeTo, staysInside } from './project.ts';
import { servesByName, servingScripts } from './serving-script.ts';
import { startsNothing } from './shell.ts';
import { notStarted } from './wrappers.ts';

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
  /** directory of files and of a site, relative to the release; '.' for the release itself */
  directory: string;
  notices: Notice[];
}

/** Scripts that start an app in production, if `start` does not. */
export const productionScripts = ['start:prod', 'start:production', 'serve:prod', 'prod'];

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
  const scripts = manifest?.scripts ?? {};
  const production = productionScripts.filter((name) => scripts[name] !== undefined);
  let because = scripts['start'] === undefined ? ', because there is no "start"' : '';
  const watched: Candidate[] = [];
  let inMember: string | undefined;
  const take = (rule: string, command: FoundCommand, notices: Notice[] = []): Candidate | undefined => {
    const candidate = ofCommand(rule, command, notices);
    const isForDevelopment = command.env['NODE_ENV'] === 'development';
    const development = command.development ?? (isForDevelopment ? command.text : null);
    if (development === null) return candidate;
    because = `, because ${command.from} is a development command: \`${development}\``;
    if (command.directory !== project.app) inMember ??= command.directory;
    if (command.isWatched) watched.push(candidate);
    return undefined;
  };
  for (const { text, from, notices } of settings.static === undefined ? await namedStarts(project) : []) {
    const found = take(from, await followCommand(project, text, from), notices);
    if (found !== undefined) return [found];
  }
  const site = await findStaticSite(join(project.root, project.app), manifest, settings);
  if (site?.server !== undefined) {
    const { from, server } = site;
    const rule = `program of ${from}, because the build has written a server`;
    return [ofSite(project, site), ofCommand(rule, await followCommand(project, server.command, from))];
  }
  if (site !== undefined) return [ofSite(project, site)];
  if (scripts['start'] !== undefined && startsNothing(scripts['start'])) {
    because = ', because "start" in package.json starts nothing';
  } else if (scripts['start'] !== undefined) {
    const found = await followScript(project, 'start').catch(async (error: unknown) => {
      if (!isUnsupported(error)) throw error;
      if (production.length === 0 && error instanceof NoNodeProgram)
        production.push(...(await serverBeside(project)));
      if (production.length === 0) throw error;
      because = `, because ${error.message}`;
    });
    const candidate = found && take('"start" in package.json', found);
    if (candidate !== undefined) return [candidate];
  }
  const afterStart = because;
  for (const name of production) {
    const found = take(`"${name}" in package.json${afterStart}`, await followScript(project, name));
    if (found !== undefined) return [found];
  }
  if (inMember !== undefined && isFirst(project)) {
    const found = await findCandidates(await projectIn(project, inMember));
    if (found.length > 0) return found.map((each) => ({ ...each, rule: `${each.rule} of ${inMember}` }));
  }
  const framework = frameworkOf(manifest);
  const candidates: Candidate[] = [];
  if (framework !== undefined && hasWhatItNeeds(framework, manifest)) {
    const found = await ofFramework(project, framework, afterStart);
    if (found.command !== null) return [found];
    candidates.push(found);
  }
  const direct = watched.map((candidate) => {
    const rule = candidate.command?.development ? `${candidate.rule}, without its watcher` : candidate.rule;
    return { ...candidate, rule };
  });
  const all = [...candidates, ...direct, ...(await conventional(project))];
  if (all.length > 0) return all;
  const ofMember = await onlyMember(project);
  return ofMember.length > 0 || project.mayBuild ? ofMember : await plainSite(project);
}

/** Returns the starts that a Procfile and other sources of settings name, the one with precedence first. */
async function namedStarts(project: Project): Promise<(NamedStart & { notices?: Notice[] })[]> {
  const { web, ...others } = (await readProcfile(project)) ?? {};
  // The Procfile of the app is a source of its settings, which have the other processes.
  const notices = isFirst(project) ? [] : notStarted(others, 'web', join(project.app, procfileName));
  const ofProcfile = web === undefined ? [] : [{ text: web, from: '"web" in Procfile', notices }];
  return [...ofProcfile, ...project.facts.starts.filter(({ isNamed }) => isNamed !== true)];
}

/**
 * Returns what may start the only member of a workspace that has a start, for a workspace whose top has none. Members that serve
 * files count only if no other member has a start command, and other members with a "main" only if there is nothing else. A
 * single-page app does not count beside a member with a package for servers.
 * @throws AppError `nothing_to_run` if several members have a start
 */
async function onlyMember(project: Project): Promise<Candidate[]> {
  const { members, workspace } = await membersAround(project, project.app);
  if (workspace !== relativeTo(project.app) || !isFirst(project)) return [];
  const found: { member: Member; candidates: Candidate[] }[] = [];
  const likely = members.filter(mayStart).sort((a, b) => Number(hasStart(b)) - Number(hasStart(a)));
  for (const member of likely.slice(0, maxMembers)) {
    const inMember = await projectIn(project, join(workspace, member.directory), workspace);
    const candidates = await findCandidates(inMember).catch((error: unknown) => {
      // A member in another language is not the app.
      if (isUnsupported(error)) return [];
      throw error;
    });
    if (candidates.length > 0) found.push({ member, candidates });
  }
  // A single-page app needs its server, although nothing says how the server starts.
  const hasServerElsewhere = members.some(({ manifest }) => hasServerPackage(manifest));
  // A library has a "main" and a build, as some servers have.
  const isServer = ({ member, candidates: [first] }: (typeof found)[number]) =>
    first?.site === undefined && (first?.command != null || frameworkOf(member.manifest) !== undefined);
  const isSite = ({ candidates: [first] }: (typeof found)[number]) =>
    first?.site !== undefined && !(first.site.spa && hasServerElsewhere);
  const kinds = [found.filter(isServer), found.filter(isSite), found];
  const starting = kinds.find((kind) => kind.length > 0) ?? [];
  const [only, ...others] = starting;
  if (only === undefined) return [];
  if (others.length > 0) {
    const all = starting.map(({ member }) => member);
    throw new AppError(
      'nothing_to_run',
      `nothing says which member of the workspace is the app: ${all.map(({ name }) => name).join(', ')} have a start`,
      { hint: membersHint(workspace, all) },
    );
  }
  const { name } = only.member;
  return only.candidates.map((candidate) => ({
    ...candidate,
    rule: `${candidate.rule} of ${name}, the only member of the workspace with a start`,
  }));
}

/** Returns the script that serves an app whose `start` runs something else, such as a desktop app; none if no script does. */
async function serverBeside(project: Project): Promise<string[]> {
  const files = new Map<string, Promise<boolean>>();
  for (const script of servingScripts(project.manifest).slice(0, maxScripts)) {
    try {
      const found = await followScript(project, script);
      await checkTarget(project, found);
      if (found.development !== null) continue;
      if (servesByName(script, project.manifest) || (await runsServer(project, found, files)))
        return [script];
    } catch (error) {
      // The error about `start` explains more.
      if (!isUnsupported(error) && !(error instanceof AppError && error.code === 'nothing_to_run'))
        throw error;
    }
  }
  return [];
}

/** Limit of the scripts that Sluice looks at. */
const maxScripts = 20;

/**
 * Returns true if a command runs a server of files, a framework or a file that listens, or if its file is not there yet and the
 * app has a package for servers.
 * @param files whether the files seen so far listen
 */
async function runsServer(
  project: Project,
  { target, directory }: FoundCommand,
  files: Map<string, Promise<boolean>>,
): Promise<boolean> {
  if (target.kind === 'shell') return false;
  const { kind, name } = target;
  if (kind === 'bin') return fileServers.test(name) || isFrameworkProgram(name);
  const file = await resolveFile(project.root, join(directory, name));
  if (file === undefined) return hasServerPackage(project.manifest);
  return await files.getOrInsertComputed(file, () => listens(project, file));
}

function isUnsupported(error: unknown): error is AppError {
  return error instanceof AppError && error.code === 'unsupported_start';
}

/** Limit of the members that Sluice looks at. */
const maxMembers = 100;

function mayStart(member: Member): boolean {
  return hasStart(member) || member.manifest.scripts['build'] !== undefined;
}

function hasStart({ manifest: { scripts } }: Member): boolean {
  return ['start', ...productionScripts].some((name) => scripts[name] !== undefined);
}

/** Returns true if no other package has led to the package of a project. */
function isFirst({ app, settings }: Project): boolean {
  return app === (settings.directory || '.');
}

/** Returns another package of the release as a project. */
async function projectIn(
  { root, settings, facts, isBuilt }: Project,
  directory: string,
  workspace?: string,
): Promise<Project> {
  const project = await readProject(root, settings, isBuilt, directory, workspace);
  // The sources of settings are those of the app.
  return { ...project, facts: { ...facts, starts: [] } };
}

/** Returns the site of an app that has nothing else to run now. */
export async function plainSite(project: Project): Promise<Candidate[]> {
  const site = await findPlainSite(join(project.root, project.app), project.manifest);
  return site === undefined ? [] : [ofSite(project, site)];
}

function ofSite({ app }: Project, site: StaticSite): Candidate {
  return { rule: site.from, command: null, files: [], site, directory: app, notices: [] };
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
  // Many tools write a "main" into the package.json at the top of a workspace, which no build writes.
  const isTop = project.hasWorkspace && (await isWorkspace(join(root, app)));
  const { main, bin } = manifest ?? {};
  const bins = typeof bin === 'string' ? [bin] : Object.values(bin ?? {});
  const named = [
    ...(main === undefined || isTaskFile(main) ? [] : [{ rule: '"main" in package.json', path: main }]),
    ...(bins.length === 1 ? bins.map((path) => ({ rule: '"bin" in package.json', path })) : []),
  ];
  const found = await Promise.all(
    named
      .filter(({ path }) => path !== '' && staysInside(path))
      .map(async (each) => ({ ...each, file: await resolveFile(root, join(app, each.path)) })),
  );
  const [library, program] = found.map(({ file }) => file);
  if (library !== undefined && program !== undefined && (await isLibraryOf(project, library, program))) {
    const rule = '"bin" in package.json, because it loads "main" as a library';
    return [ofFiles(project, rule, [relative(app, program)])];
  }
  const candidates = found
    .filter(({ file }) => file !== undefined || (mayBuild && !isTop))
    .map(({ rule, path, file }) =>
      ofFiles(project, rule, file === undefined ? withExtension(path) : [relative(app, file)]),
    );
  const isSource = await isSiteSource(join(root, app), manifest);
  const files = conventionalFiles.filter((name) => !isSource || !name.startsWith('src/'));
  const file = await firstFile(join(root, app), files);
  if (file !== undefined) candidates.push(ofFiles(project, `the file ${file}`, [file]));
  return candidates;
}

/** @param files relative to the app */
function ofFiles({ app }: Project, rule: string, files: string[]): Candidate {
  return { rule, command: null, files: files.map((file) => join(app, file)), directory: app, notices: [] };
}

/** Returns the files that `require(path)` may find. */
function withExtension(path: string): string[] {
  return [path, `${path}.js`, `${path.replace(/\/$/, '')}/index.js`];
}

function ofCommand(rule: string, command: FoundCommand, notices: Notice[] = []): Candidate {
  return {
    rule,
    command,
    files: [],
    directory: command.directory,
    notices: [...notices, ...command.notices],
  };
}
