/** Messages of package managers about a damaged cache. */
export const damagedCache =
  /There should only be one folder in a package cache|Extracting tar content of .* failed, the file appears to be corrupt|ENOENT.*\.yarn-(?:metadata\.json|tarball\.tgz)|^npm (?:error|ERR!)(?=.*(?:ENOENT|ENOTDIR|EISDIR|EEXIST|EINTEGRITY)).*_cacache/;

/** Returns true if the message of a failed install reports a damaged cache. */
export function reportsDamagedCache(message: string): boolean {
  const lines = message.split('\n').map((line) => line.slice(0, 1000));
  return lines.some((line) => damagedCache.test(line) || /YN0018/.test(line));
}
