import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { rotatedLogs } from '../../src/logs/files.ts';
import { type LogRecord, parseLine } from '../../src/logs/line.ts';
import { exists, ifThere } from '../../src/system/fs/exists.ts';
import { waitFor } from './wait.ts';

/**
 * Returns all records in the logs of an app, in order; bytes as latin1.
 * @param kills number of times that the runner was killed: each may leave a line without a whole prefix, which is left out
 */
export async function appLog(directory: string, kills = 0): Promise<LogRecord[]> {
  const read = async () => {
    const before = await files(directory);
    // What is rotated or compressed meanwhile has another name, or is gone, and may be missed.
    const records = await ifThere(readAll(directory, kills));
    return (await files(directory)) === before && records;
  };
  return waitFor(read, { what: 'a look at the logs that no rotation disturbs' });
}

/** Returns the files of a directory as one text, to compare. */
async function files(directory: string): Promise<string> {
  const current = await ifThere(stat(join(directory, 'app.log')));
  return JSON.stringify([current?.ino, await rotatedLogs(directory)]);
}

async function readAll(directory: string, kills: number): Promise<LogRecord[]> {
  const texts: string[] = [];
  let torn = 0;
  for (const { path, compressed } of await rotatedLogs(directory)) {
    const bytes = await readFile(path);
    texts.push((compressed ? gunzipSync(bytes) : bytes).toString('latin1'));
  }
  if (await exists(join(directory, 'app.log')))
    texts.push(await readFile(join(directory, 'app.log'), 'latin1'));
  return texts.flatMap((text) => {
    const lines = text.split('\n');
    // The last one may be being written.
    lines.pop();
    return lines.flatMap((line) => {
      const record = parseLine(line);
      if (record !== undefined) return record;
      torn += 1;
      if (torn > kills) throw new Error(`torn: ${JSON.stringify(line)}`);
      return [];
    });
  });
}

/** The lines of one stream of one process, those that came in parts put together. */
export function linesOf(records: LogRecord[], process: string, stream = 'out'): string[] {
  const lines: string[] = [];
  let begun = '';
  for (const record of records) {
    if (record.process !== process || record.stream !== stream) continue;
    begun += record.text;
    if (record.continued) continue;
    lines.push(begun);
    begun = '';
  }
  return lines;
}
