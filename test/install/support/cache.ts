import { join } from 'node:path';

/** Directory of images and guests. Its file system must be able to carry the upper directory of an overlay. */
export const cache = process.env['SLUICE_TEST_CACHE'] ?? '/var/tmp/sluice-guests';

export const guestsDirectory = join(cache, 'guests');

export type Suite = 'bookworm' | 'trixie';

/** Suites to test on. */
export const suites = (process.env['SLUICE_TEST_SUITES'] ?? 'bookworm,trixie').split(',') as Suite[];
