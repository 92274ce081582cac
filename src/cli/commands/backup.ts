import { type FileHandle, open } from 'node:fs/promises';
import { setPriority } from 'node:os';
import type { Command } from 'commander';
import type { Head } from '../../backup/format.ts';
import { environmentName, Paths } from '../../config/paths.ts';
import { AppError } from '../../errors/app-error.ts';
import { exists } from '../../system/fs/exists.ts';
import { formatBytes, formatDuration, shellWord } from '../../system/text/format.ts';
import { type CommonOptions, subcommand } from '../command.ts';
import { UsageError } from '../failure.ts';
import { interruption } from '../interruption.ts';
import { print, printJson, remark } from '../output.ts';
import { localHome } from '../server-address.ts';
import { version } from '../version.ts';

interface BackupFlags extends CommonOptions {
  releases?: boolean;
  shared: boolean;
}

/** Below the apps, which go on meanwhile. */
const niceness = 10;

export function registerBackupCommands(program: Command): void {
  subcommand(program, 'backup <file>', 'copy all state into one file, `-` for standard output')
    .option('--releases', 'with the files of all releases that are kept, so that none has to be built again')
    .option('--no-shared', 'without the data that apps keep in shared paths')
    .action(backup);
  subcommand(program, 'restore <file>', 'put a backup into this install, `-` for standard input')
    .option('--force', 'replace apps that are here already, with all that they keep')
    .action(restore);
}

async function backup(file: string, { json, releases = false, shared }: BackupFlags): Promise<void> {
  const [{ createBackup }, { holdStill }, { openOutput }] = await Promise.all([
    import('../../backup/create.ts'),
    import('../backup/hold-still.ts'),
    import('../backup/output.ts'),
  ]);
  const startedAt = performance.now();
  using interrupted = interruption();
  const paths = new Paths(localHome());
  await assertHome(paths);
  setPriority(niceness);
  await using output = await openOutput(file);
  using still = await holdStill(paths);
  const signal = AbortSignal.any([still.over, interrupted.signal]);
  const notes: string[] = [];
  const note = (text: string) => {
    notes.push(text);
    remark(text);
  };
  const options = { shared, releases, version: version(), note, signal };
  const head = await createBackup(paths, output.put, options).catch(orInterrupted(signal));
  const bytes = await output.finish();
  const durationMs = Math.round(performance.now() - startedAt);
  // Standard output may be where the backup itself goes.
  if (json && file !== '-') return printJson({ file, bytes, durationMs, ...head, notes });
  const out = file === '-' ? remark : print;
  for (const each of head.environments) out(`${environmentName(each)}: ${describe(each)}`);
  out(`${file === '-' ? 'written' : file}: ${formatBytes(bytes)} in ${formatDuration(durationMs)}`);
  remark('It holds secrets: variables, keys of certificates, and what apps keep. Whoever has it has them.');
  if (!shared) remark('Data in shared paths is not in it.');
}

async function restore(
  file: string,
  { json, force = false }: CommonOptions & { force?: boolean },
): Promise<void> {
  const [{ restoreBackup }, { assertQuiet, isUnit, quieten }, { loadServerSettings }] = await Promise.all([
    import('../../backup/restore.ts'),
    import('../backup/quiet.ts'),
    import('../../config/server-settings.ts'),
  ]);
  const paths = new Paths(localHome());
  const bySystemd = await isUnit(paths);
  // Told before anything is read, and kept so until the end.
  using _ = bySystemd ? undefined : await assertQuiet(paths);
  const { minFreeBytes: minFree } = await loadServerSettings(paths.settings);
  // Opened first: the stream of a path emits `error` before any code listens.
  const input = file === '-' ? process.stdin : (await openBackup(file)).createReadStream();
  using interrupted = interruption();
  const quiet = async () => (bySystemd ? quieten(paths) : new AsyncDisposableStack());
  const head = await restoreBackup(paths, input, { force, minFree, quiet, signal: interrupted.signal }).catch(
    orInterrupted(interrupted.signal),
  );
  if (json) return printJson({ home: paths.home, ...head });
  for (const each of head.environments) print(`${environmentName(each)}: ${outlook(each)}`);
  if (bySystemd) return print('Sluice runs again; `sluice status` shows what has come up.');
  print(`Start it, and what ran will run: SLUICE_HOME=${shellWord(paths.home)} sluice up`);
}

/** @throws UsageError if the file cannot be opened */
async function openBackup(file: string): Promise<FileHandle> {
  try {
    return await open(file);
  } catch (error) {
    throw new UsageError(`The backup ${file} cannot be read: ${(error as Error).message}`);
  }
}

/** Ctrl-C reaches the programs that we have started, too, and what they then say is not the reason. */
function orInterrupted(signal: AbortSignal) {
  return (error: unknown): never => {
    signal.throwIfAborted();
    throw error;
  };
}

async function assertHome({ home }: Paths): Promise<void> {
  if (await exists(home)) return;
  throw new AppError('not_running', `there is no ${home}`, {
    hint: 'SLUICE_HOME says where the state of Sluice is.',
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
