import { type ErrorCode, errorStatus, isErrorCode } from './codes.ts';

/** Form of an error in responses, in `release.json` and in the `--json` output of the CLI. */
export interface ErrorBody {
  code: ErrorCode;
  /** what failed and why, with names and limits */
  message: string;
  /** what to do next; may be empty */
  hint: string;
}

/**
 * Error for the user. Any other error is a fault in Sluice: the response is `internal`, and only the log has the details.
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

  /** HTTP status of the code. */
  get status(): number {
    return errorStatus[this.code];
  }

  toJSON(): ErrorBody {
    return { code: this.code, message: this.message, hint: this.hint };
  }

  /** Returns the error with a body from a socket or a file: the inverse of `toJSON`. */
  static from(body: unknown): AppError {
    const { code, message, hint } = (body ?? {}) as Partial<Record<keyof ErrorBody, unknown>>;
    return new AppError(isErrorCode(code) ? code : 'internal', String(message ?? 'unknown error'), {
      hint: typeof hint === 'string' ? hint : '',
    });
  }
}

/**
 * Returns the body of an AppError, or a body without details for any other error. Errors of the disk and limits of the system are
 * not faults in Sluice, and have their own codes.
 */
export function errorBody(error: unknown): ErrorBody {
  if (error instanceof AppError) return error.toJSON();
  const refused = diskError(error);
  if (refused !== undefined) return refused;
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

/** Returns the body of an error if the disk refused a write; undefined for any other error. */
function diskError(error: unknown): ErrorBody | undefined {
  if (isDiskFull(error)) {
    return {
      code: 'disk_full',
      message: 'the disk is full',
      hint: 'Free disk space: a lower "keepReleases" removes old releases.',
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

/** Returns the code of a system error, such as `ENOENT`; undefined for any other error. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Returns true if an error has one of the codes. */
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

/** Returns true if the disk or the quota of its owner is full. */
export function isDiskFull(error: unknown): boolean {
  return hasCode(error, 'ENOSPC', 'EDQUOT');
}
