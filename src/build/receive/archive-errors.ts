import { AppError, hasCode, systemCode } from '../../errors/app-error.ts';

/** Returns a path of an archive for a message, without control characters that could reach a terminal. */
export function shown(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}

export function unreadable(message: string, options: { hint?: string; cause?: unknown } = {}): AppError {
  return new AppError('archive_unreadable', message, {
    hint: 'Send a tar archive, plain or compressed with gzip or zstd, without changes: `curl --data-binary @app.tar.gz` (-d and -F change it).',
    ...options,
  });
}

export function truncated(cause?: unknown): AppError {
  return new AppError('archive_truncated', 'the archive ends before its end-of-archive marker', {
    hint: 'Make the archive again and send it again.',
    cause,
  });
}

export function unsafe(message: string, cause?: unknown): AppError {
  return new AppError('archive_unsafe', message, {
    hint: 'Remove this entry: an archive may contain only files, directories and links, all of them inside the archive.',
    cause,
  });
}

/** System errors that a name or a link of an archive can cause. */
const faultsOfTheArchive =
  'EEXIST EILSEQ EINVAL EISDIR ELOOP EMLINK ENAMETOOLONG ENOENT ENOTDIR ENOTEMPTY EPERM'.split(' ');

/** Runs one step of unpacking `path`. @throws AppError `archive_unsafe` if the archive causes a system error; other errors */
export function writing(path: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    if (!hasCode(error, ...faultsOfTheArchive)) throw error;
    throw unsafe(`${shown(path)} conflicts with the rest of the archive: ${systemCode(error)}`, error);
  }
}
