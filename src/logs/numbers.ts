import { stat } from 'node:fs/promises';
import { ifThere } from '../system/fs/exists.ts';
import { rotatedLog, rotatedLogs } from './files.ts';

/** More than this many in a row are not missed by chance: they have been removed. */
const missed = 100;

/**
 * The numbers of the rotated files from `after` on, in order; some may not be there. A large directory is not listed at
 * one instant: a file that is compressed meanwhile may show under neither of its names. So those between the ones that
 * were found are taken to be there, and the next one is looked for by its name.
 * @param after a number that is known to have been there
 */
export async function rotatedNumbers(directory: string, after?: number): Promise<number[]> {
  const listed = (await rotatedLogs(directory)).map(({ number }) => number);
  const found = listed.filter((number) => number > (after ?? -1));
  // One that is about to be made is there for a moment, and empty.
  while (found.length > 0 && !(await isThere(directory, found.at(-1) as number))) found.pop();
  let newest = Math.max(after ?? 0, found.at(-1) ?? 0);
  while (await isThere(directory, newest + 1)) {
    newest += 1;
    found.push(newest);
  }
  const numbers: number[] = [];
  let before = after;
  for (const number of found) {
    const first = before !== undefined && number - before <= missed ? before + 1 : number;
    for (let next = first; next <= number; next += 1) numbers.push(next);
    before = number;
  }
  return numbers;
}

/** In this order: it is there compressed before it is gone as it was. */
async function isThere(directory: string, number: number): Promise<boolean> {
  const path = rotatedLog(directory, number);
  return (await hasContent(path)) || (await hasContent(`${path}.gz`));
}

async function hasContent(path: string): Promise<boolean> {
  return ((await ifThere(stat(path)))?.size ?? 0) > 0;
}
