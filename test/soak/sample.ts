import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Appliance, Inspected } from './appliance.ts';
import { readTaken } from './process.ts';

/** Name to figure; sizes in bytes have a name that ends in ` bytes`, all else is counted. */
export type Sample = Record<string, number>;

const looks = 5;

/**
 * What server and runner take, and what lies on the disk, at rest. Each count is the least of a few looks: something
 * that is done each second goes on meanwhile, and what is kept by mistake is there at every look.
 */
export async function takeSample(appliance: Appliance, app: string): Promise<Sample> {
  const [first, ...others] = await inTurn(looks, async () => ({
    ...(await processSample('server', appliance.server)),
    ...(await processSample('runner', appliance.runner)),
    ...(await directorySample(appliance, app)),
  }));
  const sample: Sample = {};
  for (const name of new Set([first, ...others].flatMap((each) => Object.keys(each ?? {})))) {
    sample[name] = Math.min(...[first, ...others].map((each) => each?.[name] ?? 0));
  }
  return sample;
}

async function inTurn<T>(times: number, look: () => Promise<T>): Promise<T[]> {
  const found: T[] = [];
  for (let time = 0; time < times; time += 1) {
    found.push(await look());
    // No multiple of a second: to hit what is done each second every time is what must not happen.
    await sleep(70);
  }
  return found;
}

async function processSample(name: string, { pid, inspector }: Inspected): Promise<Sample> {
  const { live, resources } = await inspector.held();
  const { rss, private: own, threads, children, descriptors } = await readTaken(pid);
  return {
    [`${name}: live bytes`]: live,
    [`${name}: private bytes`]: own,
    [`${name}: resident bytes`]: rss,
    [`${name}: threads`]: threads,
    [`${name}: children`]: children,
    ...named(`${name}: descriptors, `, descriptors),
    ...named(`${name}: resources, `, resources),
  };
}

function named(prefix: string, counts: Record<string, number>): Sample {
  return Object.fromEntries(Object.entries(counts).map(([kind, count]) => [prefix + kind, count]));
}

async function directorySample({ sluice, temporary }: Appliance, app: string): Promise<Sample> {
  const { paths } = sluice;
  const { staging, logs } = paths.environment({ app, environment: 'production' });
  const directories = { run: paths.run, cache: paths.cache, temporary, staging, logs };
  const sample: Sample = {};
  for (const [name, directory] of Object.entries(directories))
    sample[`files: ${name}`] = await countFiles(directory);
  return sample;
}

async function countFiles(directory: string): Promise<number> {
  let count = 0;
  // One after the other: what is removed in between is not there, and no fault.
  for (const entry of await readdir(directory, { withFileTypes: true }).catch(() => [])) {
    count += 1;
    if (entry.isDirectory()) count += await countFiles(join(directory, entry.name));
  }
  return count;
}
