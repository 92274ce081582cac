/**
 * Lines that explain no failure: empty lines, and what package managers and Node.js add to each one. An error quotes few
 * lines, and all of them should help.
 */
const noise = [
  /^\s*$/,
  /^\s*[\^~]+\s*$/,
  /^Node\.js v\d+\.\d+\.\d+$/,
  /^\(Use `node --trace-/,
  /^npm notice/,
  /^npm warn Unknown \w+ config /,
  /^npm (?:error|ERR!) (?:A complete log of this run|Lifecycle script `|code 1$|workspace |location \/|command failed$)/,
  /^npm (?:error|ERR!)\s*$/,
  /^npm (?:error|ERR!)\s+(?:This is probably not a problem with npm|\/\S*_logs\/)/,
  /^info Visit https:\/\/yarnpkg\.com/,
  /^error Command failed with exit code \d+\.$/,
  /^\s*ELIFECYCLE\s+Command failed with exit code \d+\.$/,
  /^\s+at (?:async )?.*\bnode:/,
  /^node:internal\//,
  // Lines of Node.js's own source, which it prints above an error.
  /^\s+(?:triggerUncaughtException\(|throw (?:err|error|e);|throw new ERR_|this\[kHandle\] = )/,
  /^For further information see /,
  // Progress, and remarks about packages that install anyway.
  /^Progress: resolved \d+, /,
  /^\++$/,
  /^npm warn deprecated /,
  /^\[baseline-browser-mapping\] /,
];

/** Returns true for a line that may explain a failure. */
export function isWorthQuoting(line: string): boolean {
  const searched = line.slice(0, 1000);
  return !noise.some((pattern) => pattern.test(searched));
}
