import { basename, join, parse } from 'node:path';
import * as v from 'valibot';
import { parseSettings, readJsonSettings } from '../../config/settings-file.ts';
import type { Word } from '../../releases/words.ts';
import { enterMember, membersAround } from './members.ts';
import { NeedsShell, sortWords } from './options.ts';
import { developmentCommands, isIn } from './programs.ts';
import { staysInside } from './project.ts';
import { selectMembers } from './select-members.ts';
import { type CommandSource, changeDirectory, type Trail, unsupportedStart } from './trail.ts';
import type { Behind } from './wrappers.ts';

const withValue =
  '-c --configuration -p --projects --project -t --target --targets --parallel --runner --output-style --outputStyle --port --host';

/** Follows `nx serve web`, `nx run web:serve` and `nx run-many -t serve -p web`: https://nx.dev/docs/reference/nx-commands */
export async function nx(words: Word[], trail: Trail, source: CommandSource): Promise<Behind> {
  const { values, names, rest } = sortWords(words, withValue);
  const listed = (...options: string[]) => values(...options).flatMap((list) => list.split(','));
  const [first, second] = names;
  if (first === undefined) throw new NeedsShell('nx runs no target');
  if (first === 'run-many') {
    const [target, ...others] = listed('-t', '--target', '--targets');
    if (target === undefined || others.length > 0) throw new NeedsShell('nx runs several targets');
    return await followTarget(listed('-p', '--project', '--projects'), target, rest, trail, source);
  }
  const [project, target = ''] =
    first === 'run' ? (second ?? '').split(':') : [second ?? values('--project')[0], first];
  return await followTarget(project ? [project] : [], target, rest, trail, source);
}

/** Returns the command behind a target: a script of a member, or what project.json says. */
async function followTarget(
  projects: string[],
  target: string,
  args: Word[],
  trail: Trail,
  source: CommandSource,
): Promise<Behind> {
  const { members, workspace } = await membersAround(trail.project, trail.directory);
  const named = projects.flatMap((project) => selectMembers(members, project));
  const isScript = named.some(({ manifest }) => manifest.scripts[target] !== undefined);
  if (isScript || (projects.length === 0 && members.length > 0)) {
    await enterMember(trail, source, projects, target);
    return { script: target, args };
  }
  const [name, ...others] = projects;
  if (name === undefined || others.length > 0) throw new NeedsShell('nx runs a target of several projects');
  const places = [...named.map(({ directory }) => join(workspace, directory)), ...usualPlaces(name)];
  for (const place of places) {
    const project = await readProject(trail, place);
    if (project !== undefined && (project.name ?? basename(place)) === name)
      return behindTarget(project, place, target, args, trail, source);
  }
  throw unsupportedStart(source, `nx has no project "${name}" with a script or a target "${target}"`);
}

/** Returns the directories in which nx generates a project. */
function usualPlaces(name: string): string[] {
  return staysInside(name) ? ['.', `apps/${name}`, `packages/${name}`, `libs/${name}`, name] : [];
}

const text = v.fallback(v.optional(v.string()), undefined);
const optionsSchema = v.object({
  ...{ command: text, cwd: text, buildTarget: text, outputPath: text, outputFileName: text, main: text },
});
const targetSchema = v.object({
  executor: text,
  command: text,
  options: v.fallback(v.optional(optionsSchema), undefined),
});
const projectSchema = v.object({
  name: text,
  targets: v.fallback(v.optional(v.record(v.string(), v.fallback(targetSchema, {}))), undefined),
});
type NxProject = v.InferOutput<typeof projectSchema>;

async function readProject({ project: { root } }: Trail, directory: string): Promise<NxProject | undefined> {
  const name = join(directory, 'project.json');
  const content = await readJsonSettings(join(root, name), name, root);
  return content === undefined ? undefined : parseSettings(projectSchema, content, name);
}

/** Executors that build a project and run the output in Node.js. */
const nodeExecutor = /^@(?:nx|nrwl)\/(?:js|node):(?:node|execute)$/;

function behindTarget(
  { targets = {} }: NxProject,
  place: string,
  name: string,
  args: Word[],
  trail: Trail,
  source: CommandSource,
): Behind {
  const target = Object.hasOwn(targets, name) ? targets[name] : undefined;
  const { executor = 'nx:run-commands', options } = target ?? {};
  const command = target?.command ?? options?.command;
  if (command !== undefined && executor === 'nx:run-commands') {
    if (options?.cwd !== undefined) changeDirectory(trail, options.cwd, source);
    return { text: command, from: `"${name}" in ${join(place, 'project.json')}`, args };
  }
  if (!nodeExecutor.test(executor)) {
    if (isIn(developmentCommands, 'nx', [name]))
      Object.assign(trail, { development: source.text, isWatched: false });
    throw new NeedsShell(`nx runs the target "${name}" with ${executor}`);
  }
  const [, buildName = 'build'] = options?.buildTarget?.split(':') ?? [];
  const built = Object.hasOwn(targets, buildName) ? targets[buildName]?.options : undefined;
  const file = built?.outputFileName ?? `${parse(built?.main ?? 'main').name}.js`;
  return { words: ['node', join(built?.outputPath ?? join('dist', place), file), ...args] };
}
