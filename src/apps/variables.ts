import { reservedNames, setBySluice } from '../config/app/variables.ts';
import { AppError } from '../errors/app-error.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { counted, formatBytes } from '../system/text/format.ts';

/** Longest `NAME=value` with its NUL for a process on Linux: MAX_ARG_STRLEN, execve(2). */
const maxVariableBytes = 128 * 1024;

/** Limit of all variables, below that of execve for variables and arguments: a quarter of the stack limit of 8 MiB. */
const maxTotalBytes = 1024 * 1024;

/**
 * Reads the variables of an app from the file `path`; none if the file does not exist.
 * @throws AppError `invalid_env` that lists every fault of the file
 */
export async function loadVariables(path: string): Promise<Record<string, string>> {
  const value = await readEnvFile(path);
  if (value === undefined) return {};
  assertVariables(value, path);
  return value;
}

/** Parses a file of variables; returns undefined if it does not exist. Leaves out the error of the parser, which may quote a secret. */
export async function readEnvFile(path: string): Promise<unknown> {
  try {
    return await readJson(path);
  } catch (error) {
    if (!(error instanceof Error) || !(error.cause instanceof SyntaxError)) throw error;
    throw new AppError('invalid_env', `${path} is not valid JSON`, {
      hint: 'The file must have an object of names and values, such as {"NAME": "value"}.',
    });
  }
}

/**
 * Replaces the variables in the file `path`, which only its owner may read.
 * @throws AppError `invalid_env` that lists every fault; the file then keeps its content
 */
export async function saveVariables(path: string, env: Record<string, string>): Promise<void> {
  assertVariables(env, 'the new set of variables');
  await writeJsonAtomic(path, env, 0o600);
}

/** @throws AppError `invalid_env` that lists every fault; it never quotes a value, which may be a secret */
export function assertVariables(value: unknown, source: string): asserts value is Record<string, string> {
  const faults = envFaults(value);
  if (faults.length === 0) return;
  const areAllReserved = faults.every((fault) => fault.endsWith(setBySluice));
  throw new AppError(
    'invalid_env',
    `${source} has ${counted(faults.length, 'fault')}:\n  ${faults.join('\n  ')}`,
    {
      hint: areAllReserved
        ? 'Sluice sets PORT, NODE_APP_INSTANCE and SLUICE_… for each worker. Leave these variables out, or choose other names.'
        : 'A name has letters, digits and underscores and does not begin with a digit; a value is text.',
    },
  );
}

function envFaults(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return ['it is not an object of names and values'];
  }
  const entries = Object.entries(value);
  const faults = entries.flatMap(([name, text]) => variableFault(name, text) ?? []);
  const total = entries.reduce((sum, [name, text]) => sum + variableBytes(name, String(text)), 0);
  if (total > maxTotalBytes) {
    faults.push(`all together: ${formatBytes(total)}; the limit is ${formatBytes(maxTotalBytes)}`);
  }
  return faults;
}

function variableFault(name: string, value: unknown): string | undefined {
  const shown = JSON.stringify(name);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || name === '__proto__') return `${shown}: not a valid name`;
  if (reservedNames.has(name) || name.startsWith('SLUICE_')) return `${name}: ${setBySluice}`;
  if (typeof value !== 'string') {
    return `${name}: text is expected, not ${value === null ? 'null' : typeof value}`;
  }
  if (value.includes('\0')) return `${name}: a value cannot contain a NUL character`;
  const bytes = variableBytes(name, value);
  if (bytes > maxVariableBytes) {
    return `${name}: ${formatBytes(bytes)}; one variable can have ${formatBytes(maxVariableBytes)}`;
  }
  return undefined;
}

/** Returns the size that the kernel counts, with the `=` and a NUL. */
function variableBytes(name: string, value: string): number {
  return Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
}
