/** Returns the end of the title of a test; tests whose title ends with "(thorough)" run in `npm run test:all` only. */
export function thorough(isVariant: boolean): string {
  return isVariant ? ' (thorough)' : '';
}
