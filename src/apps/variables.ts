import { AppError } from '../errors/app-error.ts';
import { readJson, writeJsonAtomic } from '../system/fs/files.ts';
import { counted, formatBytes } from '../system/text/format.ts';

/** The variables that the runner sets for every worker; SLUICE_… besides. */
const reservedNames = new Set(['PORT', 'NODE_APP_INSTANCE']);

const reserved = 'set by Sluice itself';

/** Linux starts no process with a longer `NAME=value`, its NUL counted: MAX_ARG_STRLEN, execve(2). */
const maxVariableBytes = 128 * 1024;

/** Far below what execve takes for all variables and arguments together, a quarter of the stack limit of 8 MiB. */
const maxTotalBytes = 1024 * 1024;

/**
 * An app's own variables from the file `path`; none where there is no file.
 * @throws AppError `invalid_env` that lists every fault of the file
 */
export async function loadVariables(path: string): Promise<Record<string, string>> {
  const value = await readEnvFile(path);
  if (value === undefined) return {};
  assertVariables(value, path);
  return value;
}

/** Without what the parser says of a damaged file: it quotes what it stumbles over, which may be a secret. */
async function readEnvFile(path: string): Promise<unknown> {
  try {
    return await readJson(path);
  } catch (error) {
    if (!(error instanceof Error) || !(error.cause instanceof SyntaxError)) throw error;
    throw new AppError('invalid_env', `${path} is not valid JSON`, {
      hint: 'It is an object of names and values, such as {"NAME": "value"}. Was it changed by hand?',
    });
  }
}

/**
 * Replaces the variables in the file `path`, which only its owner may read.
 * @throws AppError `invalid_env` that lists every fault; the file is then as it was
 */
export async function saveVariables(path: string, env: Record<string, string>): Promise<void> {
  assertVariables(env, 'the new environment');
  await writeJsonAtomic(path, env, 0o600);
}

/** @throws AppError `invalid_env` that lists every fault; it never quotes a value, which may be a secret */
export function assertVariables(value: unknown, source: string): asserts value is Record<string, string> {
  const faults = envFaults(value);
  if (faults.length === 0) return;
  const areAllReserved = faults.every((fault) => fault.endsWith(reserved));
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
    faults.push(
      `all together: ${formatBytes(total)}; a process takes ${formatBytes(maxTotalBytes)} of variables`,
    );
  }
  return faults;
}

function variableFault(name: string, value: unknown): string | undefined {
  const shown = JSON.stringify(name);
  if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || name === '__proto__') return `${shown}: not a valid name`;
  if (reservedNames.has(name) || name.startsWith('SLUICE_')) return `${name}: ${reserved}`;
  if (typeof value !== 'string') {
    return `${name}: text is expected, not ${value === null ? 'null' : typeof value}`;
  }
  if (value.includes('\0')) return `${name}: a value cannot hold a NUL character`;
  const bytes = variableBytes(name, value);
  if (bytes > maxVariableBytes) {
    return `${name}: ${formatBytes(bytes)}; one variable can have ${formatBytes(maxVariableBytes)}`;
  }
  return undefined;
}

/** As the kernel counts: with the `=` and a NUL. */
function variableBytes(name: string, value: string): number {
  return Buffer.byteLength(name) + Buffer.byteLength(value) + 2;
}
