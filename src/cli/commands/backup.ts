import { open } from 'node:fs/promises';
import { setPriority } from 'node:os';
import type { Command } from 'commander';
import type { Head } from '../../backup/format.ts';
import { localHome } from '../../client/server-address.ts';
import { version } from '../../config/installed.ts';
import { environmentName, Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { isUnitHome } from '../../system/process/systemd.ts';
import { formatBytes, formatDuration, shellWord } from '../../system/text/format.ts';
import { type CommonOptions, subcommand } from '../command.ts';
import { argumentFrom } from '../failure.ts';
import { print, printJson, printRemark } from '../output.ts';

/** Priority below that of the apps, which run meanwhile. */
const niceness = 10;

export function registerBackupCommands(program: Command): void {
  subcommand(program, 'backup <file>', 'Save all state in one file, `-` for standard output')
    .option('--releases', 'Include the files of all retained releases, so that a restore builds none')
    .option('--no-shared', 'Leave out the data of apps in shared paths')
    .action(backup);
  subcommand(program, 'restore <file>', 'Restore a backup into this installation, `-` for standard input')
    .option('--force', 'Replace existing apps and their data')
    .action(restore);
}

async function backup(
  file: string,
  { json, releases = false, shared }: CommonOptions & { releases?: boolean; shared: boolean },
): Promise<void> {
  const [{ createBackup }, { freezeHome }, { openOutput }] = await Promise.all([
    import('../../backup/create.ts'),
    import('../backup/home-access.ts'),
    import('../backup/backup-file.ts'),
  ]);
  const startedAt = performance.now();
  using interrupted = interruption();
  const paths = new Paths(localHome());
  await assertHome(paths);
  setPriority(niceness);
  await using output = await openOutput(file);
  using freeze = await freezeHome(paths);
  const signal = AbortSignal.any([freeze.lost, interrupted.signal]);
  const notes: string[] = [];
  const note = (text: string) => {
    notes.push(text);
    printRemark(text);
  };
  const options = { shared, releases, version, note, signal };
  const head = await orInterrupted(signal, createBackup(paths, output.put, options));
  const bytes = await output.finish();
  const durationMs = Math.round(performance.now() - startedAt);
  // The backup itself may go to standard output.
  if (json && file !== '-') return printJson({ file, bytes, durationMs, ...head, notes });
  const out = file === '-' ? printRemark : print;
  for (const each of head.environments) out(`${environmentName(each)}: ${describe(each)}`);
  out(`${file === '-' ? 'written' : file}: ${formatBytes(bytes)} in ${formatDuration(durationMs)}`);
  printRemark(
    'Store the backup safely: it has secrets, such as variables, keys of certificates and data of apps.',
  );
  if (!shared) printRemark('The data in shared paths is not in the backup.');
}

async function restore(
  file: string,
  { json, force = false }: CommonOptions & { force?: boolean },
): Promise<void> {
  const [{ restoreBackup }, { keepStopped, stopSluice }, { loadServerSettings }] = await Promise.all([
    import('../../backup/restore.ts'),
    import('../backup/home-access.ts'),
    import('../../config/server-settings.ts'),
  ]);
  const paths = new Paths(localHome());
  const bySystemd = process.getuid?.() === 0 && (await isUnitHome(paths.home));
  // Fails before anything is read, and keeps a server from starting until the end.
  using _ = bySystemd ? undefined : await keepStopped(paths);
  const { minFreeBytes: minFree } = await loadServerSettings(paths.settings);
  // Opened first: the stream of a path emits `error` before any code listens.
  const input =
    file === '-' ? process.stdin : (await argumentFrom(open(file), `the backup ${file}`)).createReadStream();
  using interrupted = interruption();
  const quiet = async () => (bySystemd ? stopSluice(paths) : new AsyncDisposableStack());
  const { signal } = interrupted;
  const head = await orInterrupted(signal, restoreBackup(paths, input, { force, minFree, quiet, signal }));
  if (json) return printJson({ home: paths.home, ...head });
  for (const each of head.environments) print(`${environmentName(each)}: ${outlook(each)}`);
  if (bySystemd) return print('Sluice runs again. Check the apps: `sluice status`');
  print(`Start Sluice and its apps: SLUICE_HOME=${shellWord(paths.home)} sluice up`);
}

/**
 * Creates a signal for the first Ctrl-C or request to end, so that the command can remove incomplete results. The second ends
 * the process at once. Dispose of it when nothing can be undone any more.
 */
function interruption(): { signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const interrupt = () => {
    stopListening();
    controller.abort(new AppError('cancelled', 'interrupted; all incomplete results are removed'));
  };
  const stopListening = () => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, interrupt);
  };
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, interrupt);
  return { signal: controller.signal, [Symbol.dispose]: stopListening };
}

/** Prefers the interruption to errors of programs, which Ctrl-C reaches, too. */
function orInterrupted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return work.catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
}

async function assertHome({ home }: Paths): Promise<void> {
  if (await exists(home)) return;
  throw new AppError('not_running', `${home} not found`, {
    hint: 'Set SLUICE_HOME to the directory with the state of Sluice.',
  });
}

function describe({ live, trees }: Head['environments'][number]): string {
  if (live === null) return trees.length === 0 ? 'no release is live' : 'its releases';
  if (!trees.includes(live)) return `release ${live}, by its commit`;
  return trees.length === 1
    ? `release ${live}, with its files`
    : `release ${live}, and ${trees.length - 1} more`;
}

function outlook({ live, trees }: Head['environments'][number]): string {
  if (live === null) return 'restored; no release was live';
  if (trees.includes(live)) return `restored with release ${live}`;
  return `restored; release ${live} is built from its commit when Sluice starts`;
}
