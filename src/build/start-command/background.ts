import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Origins } from '../../config/settings-layers.ts';
import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { BackgroundPlan } from '../../releases/release.ts';
import { processNames } from '../process-names.ts';
import { type FoundCommand, followCommand } from './follow.ts';
import type { Candidate } from './order.ts';
import { checkTarget } from './program.ts';
import { type Project, procfileName } from './project.ts';
import type { StartedProcesses } from './trail.ts';

/** Start of a background process as far as the files show it before the install and the build. */
export interface BackgroundDecision extends Pick<BackgroundPlan, 'name' | 'count' | 'overlap'> {
  command: FoundCommand;
}

/** Background processes of an app, and notices about them. */
export interface Background {
  background: BackgroundDecision[];
  notices: Notice[];
}

/**
 * Follows the commands of background processes. A process that an earlier source of settings has under another name runs once. Of a
 * Procfile, leaves out the processes that Sluice cannot start: where such files come from, most processes run only on request. Both
 * get a notice.
 * @throws AppError `unsupported_start`, `nothing_to_run`
 */
export async function decideBackground(
  project: Project,
  origins: Origins,
  start: Candidate | undefined,
): Promise<Background> {
  const decided: (BackgroundDecision & { origin: string })[] = [];
  const notices: Notice[] = [];
  const started = start?.command?.procfile;
  const beside = startedBeside(started);
  const isOfApp = started?.file === join(project.app, procfileName);
  for (const [name, { command: text, count, overlap }] of Object.entries(project.settings.processes)) {
    const path = `processes.${name}`;
    const origin = origins[`${path}.command`] ?? origins[path] ?? 'sluice.json';
    if (text === undefined) throw withoutCommand(path);
    const ofProcfile = isOfApp && origin === procfileName ? beside.get(name) : undefined;
    beside.delete(name);
    if (ofProcfile?.isStart) continue;
    const at = ofProcfile === undefined ? project : { ...project, app: ofProcfile.directory };
    try {
      const command = await followBackground(at, ofProcfile?.command ?? text, `${path} in ${origin}`);
      const same = isOwn(origin) ? undefined : sameAs(command, origin, start, decided);
      if (same === undefined) decided.push({ name, count, overlap, command, origin });
      else notices.push(notStarted(`${name} of ${origin}`, `${same} runs the same command`));
    } catch (error) {
      if (origin !== procfileName || !(error instanceof AppError)) throw error;
      notices.push(notStarted(name, error.message));
    }
  }
  for (const [name, { command: text, isStart, directory }] of beside) {
    if (isStart || text === undefined) continue;
    const origin = started?.file ?? '';
    const command = await followBackground({ ...project, app: directory }, text, `"${name}" in ${origin}`);
    decided.push({ name, count: 1, overlap: false, command, origin });
  }
  return { background: decided.map(({ origin: _, ...decision }) => decision), notices };
}

async function followBackground(project: Project, text: string, from: string): Promise<FoundCommand> {
  const fromScript = (script: string) => `${from} (the script "${script}" of package.json)`;
  const command = await followCommand(project, text, from, fromScript, true);
  await checkTarget(project, command);
  return command;
}

/** Returns true for the settings of the app itself, in which each process is intended. */
export function isOwn(origin: string): boolean {
  return origin.endsWith('sluice.json') || origin.endsWith('"sluice" in package.json');
}

/** Returns what runs the same command as a process, and is not of the same source; undefined if nothing does. */
function sameAs(
  command: FoundCommand,
  origin: string,
  start: Candidate | undefined,
  decided: (BackgroundDecision & { origin: string })[],
): string | undefined {
  if (start !== undefined && !start.rule.endsWith(origin) && isStart(start, command))
    return 'the start of the app';
  return decided.find((other) => other.origin !== origin && isSame(other.command, command))?.name;
}

function isStart({ command: start, files }: Candidate, command: FoundCommand): boolean {
  if (start !== null) return isSame(start, command);
  const { target, args, directory } = command;
  return target.kind === 'file' && args.length === 0 && join(directory, target.name) === files[0];
}

function isSame(one: FoundCommand, other: FoundCommand): boolean {
  const [program, otherProgram] = [one, other].map(({ target, args, directory, shell }) =>
    target.kind === 'shell' ? { shell, directory } : { target, args, directory },
  );
  return isDeepStrictEqual(program, otherProgram);
}

function notStarted(process: string, why: string): Notice {
  return {
    code: 'process_not_started',
    message: `Sluice does not start ${process}: ${why}`,
    hint: 'Remove the process from the file, or add it to "processes" in sluice.json.',
  };
}

interface StartedBeside {
  /** undefined if the start command does not start the process */
  command: string | undefined;
  /** true for the process that the start command comes to */
  isStart: boolean;
  /** relative to the release */
  directory: string;
}

/** Returns the processes of a Procfile other than `web` by their names as background processes. */
function startedBeside(started: StartedProcesses | undefined): Map<string, StartedBeside> {
  if (started === undefined) return new Map();
  const { directory, chosen, commands } = started;
  const written = started.names.filter((name) => name !== 'web');
  const names = processNames(written);
  return new Map(
    written.map((name, at) => [
      names[at] ?? name,
      { command: commands[name], isStart: name === chosen, directory },
    ]),
  );
}

function withoutCommand(path: string): AppError {
  return new AppError('invalid_settings', `${path} has no command`, {
    hint: `Add "command" to ${path} in sluice.json.`,
  });
}
