/** Returns the end of the title of a test; tests whose title ends with "(thorough)" run in `npm run test:thorough` only. */
export function thorough(isVariant: boolean): string {
  return isVariant ? ' (thorough)' : '';
}
