/** Names of files and directories that macOS adds: the view of a folder, and the attributes in a zip. */
const macNames = new Set(['.DS_Store', '__MACOSX']);

/** First bytes of an AppleDouble file (RFC 1740, appendix B), in which macOS keeps the attributes of another file. */
const appleDouble = Buffer.from('00051607', 'hex');

/** Returns true for the path of an entry that only macOS uses. */
export function isMacPath(path: string): boolean {
  return path.split('/').some((name) => macNames.has(name));
}

/** Returns true if the name of a file is that of an AppleDouble file: `._server.js` beside `server.js`. */
export function mayBeAppleDouble(path: string): boolean {
  return path.startsWith('._', path.lastIndexOf('/') + 1);
}

/** @param head first bytes of a file */
export function isAppleDouble(head: Buffer): boolean {
  return head.subarray(0, appleDouble.length).equals(appleDouble);
}
