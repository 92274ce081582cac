import { readFile } from 'node:fs/promises';
import { isAbsolute } from 'node:path';
import { parseDump } from '../edge/nginx-dump.ts';
import { ifThere } from '../system/fs/exists.ts';
import { isInContainer, listPids, titleOf } from '../system/process/processes.ts';

/**
 * Finds the master process of an nginx of this machine. Of several, it is the one that `nginx -s reload` reaches.
 * @param dump output of `nginx -T`
 * @param main file of the configuration
 * @param isUsual true if nginx reads this file without an option
 * @returns undefined if nginx does not run with this file
 */
export async function findMaster(
  dump: string,
  { main, isUsual }: { main: string | undefined; isUsual: boolean },
): Promise<number | undefined> {
  const masters = (await listPids()).filter((pid) => {
    const title = titleOf(pid) ?? '';
    if (!title.startsWith('nginx: master process') || isInContainer(pid)) return false;
    const named = /\s-c\s*([^\s\0]+)/.exec(title)?.[1];
    // The package of nginx.org names the usual file, too.
    return named === undefined ? isUsual : named === main;
  });
  const reached = await pidIn(dump);
  return masters.find((pid) => pid === reached) ?? masters[0];
}

/** Returns the pid in the file that the directive `pid` names; undefined without such a file. */
async function pidIn(dump: string): Promise<number | undefined> {
  const [path = ''] = parseDump(dump, []).find(({ name }) => name === 'pid')?.args ?? [];
  const text = isAbsolute(path) ? await ifThere(readFile(path, 'utf8')) : undefined;
  return text === undefined ? undefined : Number(text);
}
