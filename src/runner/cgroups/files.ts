import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { hasCode, systemCode } from '../../errors/app-error.ts';

/** Undefined where there is no such file, or no such group any more. */
export function readControl(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

export function writeControl(path: string, value: string | number): void {
  writeFileSync(path, String(value));
}

/** The numbers of a file such as memory.events: `oom 2`, one a line. */
export function readCounts(path: string): Record<string, number> {
  const lines = (readControl(path) ?? '').split('\n').filter((line) => line !== '');
  return Object.fromEntries(
    lines.map((line) => {
      const [name = '', value] = line.split(' ');
      return [name, Number(value)];
    }),
  );
}

/** Those of a file such as cgroup.procs. */
export function readPids(path: string): number[] {
  return (readControl(path) ?? '')
    .split('\n')
    .filter((line) => line !== '')
    .map(Number);
}

export function makeGroup(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw error;
  }
}

/** @returns false where somebody is in it */
export function removeGroup(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch (error) {
    if (isGone(error)) return true;
    // The kernel says the first; the second where it is a plain directory that has something in it.
    if (hasCode(error, 'EBUSY', 'ENOTEMPTY')) return false;
    throw error;
  }
}

export function listGroups(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT', 'ENODEV');
}
