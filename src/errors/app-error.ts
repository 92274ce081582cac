import { type ErrorCode, errorStatus, isErrorCode } from './codes.ts';

/** How an error looks on the wire, in `release.json` and in the CLI's `--json`. */
export interface ErrorBody {
  code: ErrorCode;
  /** what failed and why, naming the thing and the limit that was measured */
  message: string;
  /** what to do next; empty where there is nothing sensible to say */
  hint: string;
}

/**
 * An error that is meant to be read by the user. Anything else that is thrown is a fault of ours and is answered
 * as `internal`, with its details in the log only.
 */
export class AppError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AppError';
    this.code = code;
    this.hint = options.hint ?? '';
  }

  /** HTTP status that fits the code. */
  get status(): number {
    return errorStatus[this.code];
  }

  toJSON(): ErrorBody {
    return { code: this.code, message: this.message, hint: this.hint };
  }

  /** The inverse of `toJSON`: an error that came over a socket or from a file. */
  static from(body: unknown): AppError {
    const { code, message, hint } = (body ?? {}) as Partial<Record<keyof ErrorBody, unknown>>;
    return new AppError(isErrorCode(code) ? code : 'internal', String(message ?? 'unknown error'), {
      hint: typeof hint === 'string' ? hint : '',
    });
  }
}

/**
 * Returns the error to answer with: an AppError as it is, any other error without its details. A failed disk and a limit of
 * the system have codes of their own, since they are no fault in Sluice.
 */
export function errorBody(error: unknown): ErrorBody {
  if (error instanceof AppError) return error.toJSON();
  const ofDisk = diskError(error);
  if (ofDisk !== undefined) return ofDisk;
  if (hasCode(error, 'EMFILE', 'ENFILE')) {
    return {
      code: 'out_of_descriptors',
      message: 'Sluice has no file descriptors left',
      hint: '`sluice doctor` shows the limit and the apps that use most. Stop one of these apps, or raise the limit (LimitNOFILE in the unit, or `ulimit -n`).',
    };
  }
  return {
    code: 'internal',
    message: 'Internal error',
    hint: 'See the log of the server for details.',
  };
}

/** Returns the error to answer with if the disk refused a write; undefined for any other error. */
function diskError(error: unknown): ErrorBody | undefined {
  if (isDiskFull(error)) {
    return {
      code: 'disk_full',
      message: 'the disk is full',
      hint: 'Free some space: a lower "keepReleases" removes old releases.',
    };
  }
  if (!hasCode(error, 'EROFS', 'EIO')) return undefined;
  const why = systemCode(error) === 'EROFS' ? 'is read-only' : 'reports an input/output error';
  return {
    code: 'disk_unwritable',
    message: `the disk ${why}`,
    hint: 'Check the disk with `dmesg`. Try again when the disk is writable.',
  };
}

/** The system's code of a failed call (`ENOENT` and so on), or undefined where it is no such error. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Whether it is one of these. */
export function hasCode(error: unknown, ...codes: string[]): boolean {
  return codes.includes(systemCode(error) ?? '');
}

/** Returns true if the disk refused a write: it is full, read-only or broken. */
export function isRefusedByDisk(error: unknown): boolean {
  return isDiskFull(error) || hasCode(error, 'EROFS', 'EIO');
}

/** Returns true if descriptors, processes, memory or a disk are short: the same call may succeed later. */
export function isShortage(error: unknown): boolean {
  return isRefusedByDisk(error) || hasCode(error, 'EMFILE', 'ENFILE', 'ENOMEM', 'ENOBUFS', 'EAGAIN');
}

/** Whether the disk, or what its owner may have of it, is full. */
export function isDiskFull(error: unknown): boolean {
  return hasCode(error, 'ENOSPC', 'EDQUOT');
}
