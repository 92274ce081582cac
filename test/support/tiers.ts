import { test } from 'node:test';

/** True in `npm run test:all`. */
const all = process.env['SLUICE_TESTS'] === 'all';

/**
 * Registers a test of `npm run test:all` that `npm test` leaves out: a further variant of a promise that another test in the
 * same file shows.
 */
export const thorough = (all ? test : () => Promise.resolve()) as typeof test;
