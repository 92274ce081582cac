import type { ListedVariable } from '../api/routes/apps.ts';
import { counted } from '../system/text/format.ts';
import { oneLine } from './env-text.ts';
import { formatTime, paint, table } from './output.ts';

/** Shown instead of a value that is hidden. */
export const hiddenValue = '••••••';

/** Longest value in a table, in characters. */
const maxShown = 60;

/** Returns true for a variable of `sluice env set`. */
export function isSet({ origin }: ListedVariable): boolean {
  return origin === 'sluice env set';
}

/** Formats variables as a table. Values that are hidden are dots. */
export function variablesTable(variables: ListedVariable[]): string {
  const differ = variables.some(({ processes }) => processes !== null);
  const rows = variables.map((variable) => {
    const [name, value] = [variable.name, cell(variable.value)];
    return differ
      ? [name, value, processesText(variable), origin(variable)]
      : [name, value, origin(variable)];
  });
  const hint = variables.some(({ value }) => value === null) ? ['', paint('dim', 'Show values: --show')] : [];
  return [table(differ ? 'NAME VALUE PROCESSES ORIGIN' : 'NAME VALUE ORIGIN', rows), ...hint].join('\n');
}

function processesText({ processes, build }: ListedVariable): string | null {
  return build ? null : (processes?.join(', ') ?? 'all');
}

function cell(value: string | null): string {
  if (value === null || value === hiddenValue) return hiddenValue;
  const line = oneLine(value);
  return line.length > maxShown ? `${line.slice(0, maxShown)}…` : line;
}

/** Describes an origin, such as `sluice env set --build (local, 2026-11-30 10:00)`. */
function origin(variable: ListedVariable): string {
  const { by, at, build, plain } = variable;
  const ofSet = build ? ' --build' : plain ? ' --plain' : '';
  const option = isSet(variable) ? ofSet : '';
  return `${variable.origin}${option}${by === null || at === null ? '' : ` (${by}, ${formatTime(at)})`}`;
}

/** Variable that differs between two environments. */
export interface Difference {
  name: string;
  /** value in each; null where the variable is missing */
  values: (string | null)[];
  /** true if no value is secret */
  plain: boolean;
}

/** Returns the names of a variable in a comparison: with the process if only background processes have the value. */
function labels({ name, processes }: ListedVariable): string[] {
  return processes === null || processes.length === 0 || processes.includes('web')
    ? [name]
    : processes.map((process) => `${name} (${process})`);
}

/** Compares the variables of two environments. */
export function differences(
  one: ListedVariable[],
  other: ListedVariable[],
): { equal: number; different: Difference[] } {
  const names = [...new Set([...one, ...other].flatMap(labels))].sort();
  const all = names.map((name) => {
    const found = [one, other].map((variables) =>
      variables.find((variable) => labels(variable).includes(name)),
    );
    const values = found.map((variable) => variable?.value ?? null);
    return { name, values, plain: found.every((variable) => variable?.plain !== false) };
  });
  const different = all.filter(({ values: [first, second] }) => first !== second);
  return { equal: all.length - different.length, different };
}

/** Formats what two environments differ in. */
export function differencesTable(
  { equal, different }: { equal: number; different: Difference[] },
  one: string,
  other: string,
): string {
  const count = `${counted(equal, 'variable')} with equal values`;
  if (different.length === 0) return `${one} and ${other} have the same variables: ${count}`;
  const rows = different.map(({ name, values }) => [name, ...values.map((value) => value && cell(value))]);
  return `${table(`NAME ${one} ${other}`, rows)}\n\n${count}`;
}
