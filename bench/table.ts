import { written } from './figures.ts';
import type { Goal } from './measurement.ts';
import type { Result } from './results.ts';

const heads = ['row', 'Sluice', 'rival', 'ratio', 'goal', 'ok'];

/** Returns the table of results as lines of text. */
export function textTable(results: readonly Result[]): string {
  const rows = [heads, ...results.map(cells)];
  const widths = heads.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: string[]) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  ');
  const errors = results.filter(({ error }) => error !== null);
  const reasons = [...new Set(errors.map(({ measurement, error }) => `${measurement}: ${error}`))];
  return [...rows.map(line), ...reasons].map((text) => `${text.trimEnd()}\n`).join('');
}

/** Returns the cells of a row: title, figures, ratio, goal and outcome. */
export function cells({ title, unit, sluice, rival, ratio, goal, ok }: Result): string[] {
  const theirs = rival === null ? '–' : `${rival.name}: ${written(rival.figure, unit)}`;
  return [title, written(sluice, unit), theirs, writtenRatio(ratio), goalText(goal, unit), ok ? 'yes' : 'no'];
}

function writtenRatio(ratio: number | null): string {
  return ratio === null ? '–' : ratio.toFixed(2);
}

function goalText({ figure, ratio }: Goal, unit: string): string {
  const limits = [
    figure === undefined ? [] : `≤ ${written(figure, unit)}`,
    ratio === undefined ? [] : `ratio ≤ ${ratio.toFixed(2)}`,
  ];
  return limits.flat().join(', ') || '–';
}
