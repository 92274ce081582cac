import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import * as v from 'valibot';
import type { JobResult, JobSpec } from '../../protocol/runner.ts';
import { parseJson, readUndamagedJson, writeJsonAtomic } from '../../system/fs/files.ts';
import { baseEnvironment } from '../variables.ts';
import { nodePackage } from './installed.ts';

/** Runs a job and reports its output. */
export type RunJob = (
  job: JobSpec,
  onOutput: (output: { stream: 'stdout' | 'stderr'; text: string }) => void,
) => Promise<JobResult>;

/** Versions of Node.js in the npm registry, as Sluice has read them. */
const listSchema = v.object({ readAt: v.pipe(v.string(), v.isoTimestamp()), versions: v.array(v.string()) });

export type NodeList = v.InferOutput<typeof listSchema>;

/** Returns the list in a file; undefined if there is none. A damaged file counts as none. */
export async function readNodeList(path: string): Promise<NodeList | undefined> {
  const { success, output } = v.safeParse(listSchema, await readUndamagedJson(path));
  return success ? (output as NodeList) : undefined;
}

/** Returns true if a list exists and is at most `maxAge` old, in ms. */
export function isRecent(list: NodeList | undefined, maxAge: number): list is NodeList {
  const age = Date.now() - Date.parse(list?.readAt ?? '');
  return age >= 0 && age <= maxAge;
}

/** Limit of the time of npm, in ms, and of its output, in characters. */
const limits = { timeout: 20_000, output: 4 * 1024 ** 2 };

/**
 * Reads the list from the registry with npm, and writes it to a file.
 * @throws Error if npm fails or prints no list
 */
export async function fetchNodeList(path: string, directory: string, runJob: RunJob): Promise<NodeList> {
  const text = { stdout: '', stderr: '' };
  const job: JobSpec = {
    argv: ['npm', 'view', nodePackage, 'versions', '--json', '--fetch-retries=0', '--fetch-timeout=10000'],
    directory,
    env: baseEnvironment(),
    user: null,
    lowPriority: true,
    timeout: limits.timeout,
  };
  const { code } = await runJob(job, ({ stream, text: part }) => {
    if (text[stream].length < limits.output) text[stream] += part;
  });
  const error = /npm (?:error|ERR!) (.*)/.exec(text.stderr)?.[1];
  if (code !== 0) throw new Error(`npm view ${nodePackage} failed: ${error ?? `exit status ${code}`}`);
  const versions = v.parse(v.array(v.string()), parseJson(text.stdout));
  const list = { readAt: new Date().toISOString(), versions };
  await mkdir(dirname(path), { recursive: true });
  await writeJsonAtomic(path, list);
  return list;
}
