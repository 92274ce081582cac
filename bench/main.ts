import { parseArgs } from 'node:util';
import { currentCommit, describeMachine } from './machine.ts';
import type { Measurement } from './measurement.ts';
import { installPrograms } from './programs.ts';
import { type Result, resultOf, writeResults } from './results.ts';
import { measurements } from './rows/all.ts';
import { endScopes, runRounds } from './run.ts';
import { textTable } from './table.ts';

const usage = `Usage: npm run bench -- [--quick] [NAME...]

Measure Sluice and its rivals on this machine in turns, print a table, and write bench/results.json.
--quick measures less, in less than 4 minutes, and writes no file.

Names: ${measurements.map(({ name }) => name).join(', ')}
`;

/** @returns exit status */
async function main(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const unknown = positionals.filter(
    (name) => !measurements.some((measurement) => measurement.name === name),
  );
  if (values.help || unknown.length > 0) {
    console.log(`${unknown.map((name) => `Unknown name: ${name}\n`).join('')}${usage}`);
    return values.help ? 0 : 2;
  }
  const isWanted = ({ name, quickRounds }: Measurement) =>
    positionals.length > 0 ? positionals.includes(name) : !values.quick || quickRounds > 0;
  await installPrograms();
  const rows = await measure(measurements.filter(isWanted), values.quick);
  if (new Set(rows.map(({ measurement }) => measurement)).size > 1) console.log(`\n${textTable(rows)}`);
  if (!values.quick) {
    const order = measurements.map(({ name }) => name);
    await writeResults({ machine: await describeMachine(), rows }, order);
    console.log('\nThe results are in bench/results.json. `npm run generate` writes them to README.md.');
  }
  return rows.every(({ error }) => error === null) ? 0 : 1;
}

/** Prints the rows of each measurement as soon as they are known. */
async function measure(wanted: Measurement[], quick: boolean): Promise<Result[]> {
  const about = { date: new Date().toISOString().slice(0, 10), commit: await currentCommit() };
  const rows: Result[] = [];
  for (const measurement of wanted) {
    const start = performance.now();
    const { figures, error } = await runRounds(measurement, quick);
    // A quick run leaves out some rows.
    const results = measurement.rows
      .map((row) => resultOf(measurement, row, figures, { error, ...about }))
      .filter(({ sluice }) => sluice !== null || error !== null || !quick);
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    console.log(`\n${measurement.name}: ${figures.length} rounds in ${seconds} s\n${textTable(results)}`);
    rows.push(...results);
  }
  return rows;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    await endScopes();
    process.exit(1);
  });
}
process.exitCode = await main(process.argv.slice(2));
