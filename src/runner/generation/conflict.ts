import { AppError } from '../../errors/app-error.ts';

/** Output of an app that needs something that another process has. */
const conflicts: readonly RegExp[] = [
  /\bEADDRINUSE\b/,
  // LevelDB and RocksDB.
  /\bLEVEL_LOCKED\b|\/LOCK: |lock hold by current process/,
  /\bSQLITE_BUSY\b|database is locked/i,
  // DuckDB, proper-lockfile, and flock.
  /Conflicting lock is held|Could not set lock|\bELOCKED\b|Lock file is already being held/i,
  /already running|another instance|another process (?:is using|has)/i,
];

const hint =
  'The live release may have what the new one needs, such as a UDP port or a lock. To end it before the new one starts, in sluice.json: "overlap": false. Clients wait meanwhile.';

/**
 * Returns the error of a boot beside a live generation. If the app has printed that another process has a port or a lock, the
 * hint offers `overlap`.
 */
export function offerNoOverlap(error: unknown): unknown {
  if (!(error instanceof AppError)) return error;
  const { code, message } = error;
  const isBoot = code.startsWith('boot_') || code === 'health_failed' || code === 'settle_exited';
  if (!isBoot || !conflicts.some((pattern) => pattern.test(message))) return error;
  return new AppError(code, message, { hint, cause: error.cause });
}
