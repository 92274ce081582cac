/** What a line of our own log is about, from the least to the most urgent; apart from the log, so that settings can name them. */
export const logLevels = ['debug', 'info', 'warn', 'error'] as const;

export type LogLevel = (typeof logLevels)[number];

/** The level of this name; `info` where there is none, as for a runner that was started by hand. */
export function logLevel(name: string | undefined): LogLevel {
  return logLevels.find((level) => level === name) ?? 'info';
}
