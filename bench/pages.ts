import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { written } from './figures.ts';
import type { Result, Results } from './results.ts';
import { cells } from './table.ts';

const marks = {
  begin: '<!-- Generated from bench/results.json by `npm run generate`. -->',
  end: '<!-- End of the generated part. -->',
};

/** Pages with figures of the benchmark, and how each shows them. */
const pages: Record<string, (results: Results) => string> = {
  'README.md': summary,
  'docs/internals/measurements.md': everything,
};

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../${path}`, import.meta.url)), 'utf8');

/** Returns the pages with the figures of `bench/results.json`, by path. */
export function currentPages(): Record<string, string> {
  const results: Results = JSON.parse(read('bench/results.json'));
  return Object.fromEntries(
    Object.entries(pages).map(([path, show]) => [path, pageWith(read(path), show(results))]),
  );
}

/** Returns a page with another generated part. @throws Error if the page has no such part */
export function pageWith(page: string, part: string): string {
  const [from, to] = [page.indexOf(marks.begin), page.indexOf(marks.end)];
  if (from === -1 || to < from) throw new Error('the page has no part for the figures of the benchmark');
  return `${page.slice(0, from)}${marks.begin}\n\n${part}\n\n${page.slice(to)}`;
}

/** Shows the rows that have a short title. */
export function summary({ machine, rows }: Results): string {
  const shown = rows.filter(({ short, sluice }) => short !== null && sluice !== null);
  const line = ({ short, unit, sluice, rival, ratio }: Result) => [
    short ?? '',
    written(sluice, unit),
    rival === null ? '–' : `${written(rival.figure, unit)} (${rival.name})`,
    ratio === null ? '–' : written(ratio),
  ];
  const table = markdown(['', 'Sluice', 'compared with', 'ratio'], shown.map(line));
  const medians = 'Figures are medians, and a ratio is the median of the ratios within the rounds.';
  return `${table}\n\n${medians} Measured ${period(shown)} on a machine with ${about(machine)}.`;
}

/** Shows all rows. */
export function everything({ machine, rows }: Results): string {
  const heads = ['row', 'Sluice', 'rival', 'ratio', 'goal', 'ok', 'rounds', 'commit'];
  const line = (result: Result) => [...cells(result), String(result.rounds), result.commit];
  return `Measured ${period(rows)} on a machine with ${about(machine)}.\n\n${markdown(heads, rows.map(line))}`;
}

function markdown(heads: string[], rows: string[][]): string {
  return [heads, heads.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function about({ cpu, cores, memory, system, node, pm2 }: Results['machine']): string {
  return `${cores} cores (${cpu}), ${memory} GB, ${system}, Node.js ${node} and PM2 ${pm2}`;
}

function period(rows: readonly Result[]): string {
  const days = rows.map(({ date }) => date).sort();
  return [...new Set([days[0], days.at(-1)])].join(' to ');
}
