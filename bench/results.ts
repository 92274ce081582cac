import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { median, medianRatio } from './figures.ts';
import type { Figures, Goal, Measurement, Row, Unit } from './measurement.ts';

/** Outcome of a row, as `bench/results.json` has it. */
export interface Result {
  measurement: string;
  title: string;
  /** title in README.md; null to leave the row out there */
  short: string | null;
  unit: Unit;
  /** median of the rounds; null if there is none */
  sluice: number | null;
  rival: { name: string; figure: number | null } | null;
  ratio: number | null;
  goal: Goal;
  ok: boolean;
  rounds: number;
  /** reason why rounds are missing */
  error: string | null;
  /** day of the run, UTC */
  date: string;
  /** short hash of the commit that was measured */
  commit: string;
}

/** Machine and programs of a run. */
export interface Machine {
  cpu: string;
  cores: number;
  /** in GB */
  memory: number;
  system: string;
  node: string;
  pm2: string;
}

/** Content of `bench/results.json`. */
export interface Results {
  machine: Machine;
  rows: Result[];
}

const path = fileURLToPath(new URL('results.json', import.meta.url));

/** Returns the outcome of a row. */
export function resultOf(
  { name }: Measurement,
  row: Row,
  rounds: readonly Figures[],
  run: { error: string | null; date: string; commit: string },
): Result {
  const { ours, rival } = row;
  const complete = rounds.filter(
    (figures) => ours in figures && (rival === undefined || rival.figure in figures),
  );
  const values = (figure: string) => complete.map((figures) => figures[figure] ?? Number.NaN);
  const orNull = (value: number) => (Number.isFinite(value) ? value : null);
  const sluice = orNull(median(values(ours)));
  const ratio = rival && orNull(medianRatio(values(ours), values(rival.figure)));
  return {
    ...{ measurement: name, title: row.title, short: row.short ?? null, unit: row.unit, sluice },
    rival: rival ? { name: rival.name, figure: orNull(median(values(rival.figure))) } : null,
    ratio: ratio ?? null,
    goal: row.goal,
    ok: isWithin(sluice, row.goal.figure) && isWithin(ratio ?? null, row.goal.ratio),
    rounds: complete.length,
    ...run,
  };
}

function isWithin(value: number | null, limit: number | undefined): boolean {
  return limit === undefined || (value !== null && value <= limit);
}

/** Reads the results of earlier runs; undefined if there are none. */
export async function readResults(): Promise<Results | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? undefined : JSON.parse(text);
}

/** Writes results. Rows that this run has not measured keep their results of an earlier run on the same machine. */
export async function writeResults(results: Results, order: readonly string[]): Promise<void> {
  await writeFile(path, `${JSON.stringify(merged(await readResults(), results, order), null, 2)}\n`);
}

/** @param order names of all measurements, as the table has them */
export function merged(earlier: Results | undefined, now: Results, order: readonly string[]): Results {
  const isSame = JSON.stringify(earlier?.machine) === JSON.stringify(now.machine);
  const measured = new Set(now.rows.map(({ measurement }) => measurement));
  const kept = isSame ? (earlier?.rows ?? []).filter(({ measurement }) => !measured.has(measurement)) : [];
  const rank = ({ measurement }: Result) => order.indexOf(measurement);
  const rows = [...kept, ...now.rows].filter((row) => rank(row) !== -1);
  return { machine: now.machine, rows: rows.sort((a, b) => rank(a) - rank(b)) };
}
