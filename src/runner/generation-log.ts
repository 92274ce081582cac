import { mkdir, open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../errors/app-error.ts';
import type { GenerationSpec } from '../protocol/runner.ts';

/** How much of the end of a log is looked at for an error, in bytes, and how many lines of it are told. */
const looked = 64 * 1024;
const told = 20;

/** Where all workers of a generation write what the app prints. */
export function generationLog({ paths }: GenerationSpec, generation: number): string {
  return join(paths.logs, `${generation}.log`);
}

export async function prepareLogs({ paths }: GenerationSpec): Promise<void> {
  await mkdir(paths.logs, { recursive: true, mode: 0o750 });
}

/**
 * Puts the log of a generation that never had traffic aside, as `N.failed.log`: it is no part of what the app that runs
 * has to say.
 */
export async function setLogAside(spec: GenerationSpec, generation: number): Promise<void> {
  const path = generationLog(spec, generation);
  try {
    await rename(path, path.replace(/log$/, 'failed.log'));
  } catch (error) {
    if (systemCode(error) !== 'ENOENT') throw error;
  }
}

/**
 * The last lines a generation printed, for an error that says why it did not start. Frames of Node's own are left out:
 * of a module that is not found they are so many that the line that names it would not be among the last.
 */
export async function lastOutput(spec: GenerationSpec, generation: number): Promise<string[]> {
  const file = await open(generationLog(spec, generation), 'r');
  try {
    const { size } = await file.stat();
    const start = Math.max(0, size - looked);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(looked), 0, looked, start);
    const lines = buffer.toString('utf8', 0, bytesRead).trimEnd().split('\n');
    return lines.filter((line) => line.trim() !== '' && !/^\s+at .*\bnode:/.test(line)).slice(-told);
  } finally {
    await file.close();
  }
}
