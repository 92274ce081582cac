import { AppError, systemCode } from '../../errors/app-error.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';
import type { ArchiveLimits } from './receive.ts';

/** A path from an archive, for a message: what a hostile name holds must not reach a terminal as it is. */
export function shown(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}

export function unreadable(
  message: string,
  options: { hint?: string | undefined; cause?: unknown } = {},
): AppError {
  const hint =
    options.hint ??
    'Send a tar, plain or compressed with gzip or zstd, byte for byte: `curl --data-binary @app.tar.gz` (-d and -F change it).';
  return new AppError('archive_unreadable', message, { hint, cause: options.cause });
}

export function truncated(cause?: unknown): AppError {
  return new AppError('archive_truncated', 'the archive ends before its end-of-archive marker', {
    hint: 'It was cut short, when it was made or on its way here: make it again and send it again.',
    cause,
  });
}

export function unsafe(message: string, cause?: unknown): AppError {
  return new AppError('archive_unsafe', message, {
    hint: 'An archive may hold files, directories and links, all of them inside it: leave this one out.',
    cause,
  });
}

export function tooManyEntries({ maxEntries }: ArchiveLimits): AppError {
  return new AppError('archive_too_many_entries', `the archive holds more than ${maxEntries} entries`, {
    hint: 'Leave out node_modules and build output: they are made here. Or raise "maxEntries" in config.json.',
  });
}

/** @param limit in bytes */
export function tooManyLinks(limit: number): AppError {
  return new AppError(
    'archive_too_many_entries',
    `the paths and targets of the links in the archive take more than ${formatBytes(limit)}`,
    { hint: 'Leave out node_modules and build output: Sluice makes them here.' },
  );
}

export function tooLarge({ maxExtractedBytes }: ArchiveLimits): AppError {
  return new AppError(
    'archive_too_large',
    `the archive unpacks to more than ${formatBytes(maxExtractedBytes)}`,
    {
      hint: 'Leave out node_modules and data, or raise "maxExtractedBytes" in config.json.',
    },
  );
}

/** @param announced bytes, where the sender said so before it sent them */
export function uploadTooLarge({ maxUploadBytes }: ArchiveLimits, announced?: number): AppError {
  const limit = formatBytes(maxUploadBytes);
  const message =
    announced === undefined
      ? `the upload is larger than the ${limit} that are allowed`
      : `the upload is ${formatBytes(announced)}, and ${limit} are allowed`;
  return new AppError('upload_too_large', message, {
    hint: 'Leave out node_modules and data, or raise "maxUploadBytes" in config.json.',
  });
}

export function stalled({ uploadTimeout }: ArchiveLimits, received: number): AppError {
  return new AppError(
    'upload_stalled',
    `the upload stood still for ${formatDuration(uploadTimeout)} after ${formatBytes(received)}`,
    { hint: 'Send it again; on a slow line, raise "uploadTimeout" in config.json.' },
  );
}

export function aborted(received: number, cause: unknown): AppError {
  return new AppError('upload_aborted', `the sender hung up after ${formatBytes(received)}`, {
    hint: 'Send it again.',
    cause,
  });
}

export function diskFull(cause: unknown): AppError {
  return new AppError('disk_full', 'the disk was full before the archive was unpacked', {
    hint: 'Free some space: a lower "keepReleases" removes old releases.',
    cause,
  });
}

/** What the system says where a name or a link of the archive cannot be as it is. */
const faultsOfTheArchive = new Set([
  'EEXIST',
  'EILSEQ',
  'EINVAL',
  'EISDIR',
  'ELOOP',
  'EMLINK',
  'ENAMETOOLONG',
  'ENOENT',
  'ENOTDIR',
  'ENOTEMPTY',
  'EPERM',
]);

/** Runs one step of unpacking `path`, and tells the archive's faults from ours. */
export function writing(path: string, step: () => void): void {
  try {
    step();
  } catch (error) {
    const code = systemCode(error);
    if (code !== undefined && faultsOfTheArchive.has(code)) {
      throw unsafe(`${shown(path)} cannot be unpacked beside the rest of the archive: ${code}`, error);
    }
    throw error;
  }
}
