/**
 * Where our own log is, for a sentence.
 * @param bySystemd whether it is units of systemd that run, and no file is written then; undefined where that is not known
 */
export function ownLog(bySystemd?: boolean): string {
  const [file, journal] = ['sluice.log in the home', '`journalctl -u sluice -u sluice-runner`'];
  if (bySystemd === undefined) return `${file}, or under systemd ${journal},`;
  return bySystemd ? journal : file;
}
