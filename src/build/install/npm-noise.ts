/**
 * Tells, line by line, which of what npm prints is worth showing. Not: the usage of `npm ci` that it ends with when the
 * lockfile does not fit, 90 lines; and the install scripts it lists, which npm 11 runs all the same, and about which a
 * notice says what there is to say where they were not run.
 */
export function npmNoiseFilter(): (line: string) => boolean {
  let inUsage = false;
  return (line) => {
    if (/^npm warn install-scripts\b/.test(line) || /^npm error\s*$/.test(line)) return false;
    if (!/^npm error /.test(line)) return true;
    if (/^npm error (?:Clean install a project|Install a package|Usage:)$/.test(line)) inUsage = true;
    const wasInUsage = inUsage;
    if (/^npm error Run "npm help /.test(line)) inUsage = false;
    return !wasInUsage;
  };
}
