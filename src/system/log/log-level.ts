/** Levels of our own log, from the least to the most urgent. Settings name them, so they are apart from the log and its package. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof logLevels)[number];

/** Returns the level of this name, or `info`. */
export function logLevel(name: string | undefined): LogLevel {
  return logLevels.find((level) => level === name) ?? 'info';
}
