import { addAbortListener } from 'node:events';
import type { Environment } from '../apps/environment.ts';
import { withoutRepositoryAbove } from '../build/repository-above.ts';
import { AppError } from '../errors/app-error.ts';
import type {
  JobLimits,
  OneOffProgress,
  OneOffResult,
  OneOffSignal,
  OneOffSpec,
  TerminalSize,
} from '../protocol/runner.ts';
import { shellWord } from '../system/text/format.ts';
import { type Masker, sharedMasker } from '../system/text/mask/masker.ts';
import { ensureNode } from './node.ts';
import { generationSpec } from './spec.ts';

/** Longest text of a command in logs and in the status, in characters. */
const mostShown = 500;

/** One-off command that somebody asks for. */
export interface OneOffRequest {
  /** shell command; a program and its arguments; or an interactive program: the REPL of Node.js, or a shell */
  run: { shell: string } | { argv: [string, ...string[]] } | { console: 'node' | 'shell' };
  /** size of the caller's terminal, and its type for TERM; null for pipes */
  terminal: (TerminalSize & { type: string }) | null;
  /** true to run it without a connection, with its output in the log */
  detached: boolean;
}

/** Running one-off command. */
export interface OneOffHandle {
  id: string;
  release: number;
  /** fulfilled when the command can take more */
  write(data: Buffer): Promise<void>;
  endInput(): void;
  /** fulfilled when the runner has resized the terminal, or the command has ended */
  resize(size: TerminalSize): Promise<void>;
  /** fulfilled when the runner has sent the signal, or the command has ended */
  signal(signal: OneOffSignal): Promise<void>;
  /** lets the command wait with its output */
  pause(): void;
  resume(): void;
}

/** Receiver of the output of a one-off command. */
export interface OneOffReader {
  /** called before any output */
  started(handle: OneOffHandle): void;
  output(stream: 'stdout' | 'stderr', data: Buffer): void;
}

/** One-off command with the limits that it runs in. */
export interface PreparedOneOff {
  command: OneOffSpec;
  limits: JobLimits;
}

/**
 * Decides how a one-off command runs: in the live release, with the variables, the working directory, the Node.js and the limits of
 * hooks and workers.
 * @throws AppError `not_deployed`, `install_failed`
 */
export async function prepareOneOff(
  environment: Environment,
  { run, terminal, detached }: OneOffRequest,
  by: string,
  signal: AbortSignal,
): Promise<PreparedOneOff> {
  const { appliance, name: key } = environment;
  const release = await environment.requireLiveRelease();
  const log = (line: string) => appliance.log.info('Node.js', { app: key, line });
  const node = await ensureNode(appliance, release.node, { log, signal });
  const spec = await generationSpec(environment, release, node === undefined ? {} : { node });
  const { directory, commandDirectory, limits } = spec;
  const masked = describe(run, sharedMasker(spec.log.secrets));
  const env = {
    ...spec.env,
    ...withoutRepositoryAbove(directory),
    ...(terminal && { TERM: terminal.type }),
  };
  const command: OneOffSpec = {
    ...{ key, by, detached, directory, env },
    argv: argvOf(run, spec.node),
    release: release.number,
    command: masked.length > mostShown ? `${masked.slice(0, mostShown)}…` : masked,
    node: spec.node,
    log: spec.log,
    terminal: terminal && !detached ? { rows: terminal.rows, columns: terminal.columns } : null,
    ...(commandDirectory && { workingDirectory: commandDirectory }),
  };
  return { command, limits: { key, ...limits } };
}

/**
 * Runs a one-off command to its end.
 * @param signal ends the command, unless it is detached, and waits for its end
 * @param stopping closes the connection to the runner, which then ends the command, unless it is detached
 * @throws AppError of the runner; the reason of the aborted signal
 */
export async function runOneOff(
  { appliance }: Environment,
  { command, limits }: PreparedOneOff,
  reader: OneOffReader,
  { signal, stopping }: { signal: AbortSignal; stopping: AbortSignal },
): Promise<OneOffResult> {
  const throwIfAborted = () => {
    signal.throwIfAborted();
    stopping.throwIfAborted();
  };
  throwIfAborted();
  const connection = await appliance.runner.open();
  using _closing = addAbortListener(stopping, () => connection.close());
  // The connection of a slow reader may be paused.
  using _ending = addAbortListener(signal, () => connection.resume());
  // Calls that fail because the command has ended, or the connection: `run` reports the reason.
  const late = () => undefined;
  const isDone = async (answer: Promise<unknown>) => void (await answer.catch(late));
  const onProgress = (message: OneOffProgress) => {
    if (signal.aborted) return;
    if ('stream' in message) reader.output(message.stream, Buffer.from(message.data, 'base64'));
    else
      reader.started({
        id: message.id,
        release: command.release,
        write: (data) => isDone(connection.call('input', { data: data.toString('base64') })),
        endInput: () => void connection.call('endInput', {}).catch(late),
        resize: (size) => isDone(connection.call('resize', size)),
        signal: (name) => isDone(connection.call('signal', { signal: name })),
        pause: () => !signal.aborted && connection.pause(),
        resume: () => connection.resume(),
      });
  };
  try {
    const result = await connection.call('run', { command, limits }, { onProgress, signal });
    throwIfAborted();
    return result;
  } catch (error) {
    throwIfAborted();
    throw error;
  } finally {
    connection.close();
  }
}

/** Ends one-off commands of an environment, or one of them, and waits for their end. @throws AppError `command_not_found` */
export async function endOneOffs({ appliance, name: key }: Environment, id?: string): Promise<void> {
  const ended = await appliance.runner.call('endOneOffs', { key, ...(id !== undefined && { id }) });
  if (id === undefined || ended > 0) return;
  throw new AppError('command_not_found', `${key} has no running one-off command with the id ${id}`, {
    hint: `List them: \`sluice status ${key}\`.`,
  });
}

function argvOf(run: OneOffRequest['run'], node: string): [string, ...string[]] {
  if ('shell' in run) return ['/bin/sh', '-c', run.shell];
  // The shell reports a program that does not exist or cannot be run, with the usual exit status.
  if ('argv' in run) return ['/bin/sh', '-c', 'exec "$@"', 'sh', ...run.argv];
  if (run.console === 'node') return [node];
  return ['/bin/sh', '-c', 'command -v bash >/dev/null && exec bash; exec sh'];
}

/** Returns the command without secrets. Quotes would hide a secret from the masker, so it sees each word before them, too. */
function describe(run: OneOffRequest['run'], masker: Masker): string {
  if ('console' in run) return `console (${run.console})`;
  const text =
    'shell' in run ? run.shell : run.argv.map((word) => shellWord(masker.maskText(word))).join(' ');
  return masker.maskText(text);
}
