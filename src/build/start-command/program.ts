import type { Manifest } from '../../config/package-manifest.ts';
import { AppError } from '../../errors/app-error.ts';
import { resolveBin } from './bins.ts';
import { unsupportedStart } from './command.ts';
import { isNodeProgram, resolveFile, staysInside } from './files.ts';
import type { FoundCommand } from './follow.ts';

/**
 * The JavaScript file that a command runs, relative to `directory`, which is installed and built.
 * @throws AppError `nothing_to_run`, `unsupported_start`
 */
export async function resolveProgram(
  directory: string,
  manifest: Manifest | undefined,
  found: FoundCommand,
): Promise<string> {
  const script = await findProgram(directory, manifest, found);
  // What Node.js is told to run it runs, whatever it is called; `bin/www` is well known.
  if (found.command.program.kind !== 'file' && !(await isNodeProgram(directory, script))) {
    throw unsupportedStart(found.text, found.from, `${script} is no JavaScript program`);
  }
  return script;
}

/** The same without a look into it. */
export async function findProgram(
  directory: string,
  manifest: Manifest | undefined,
  found: FoundCommand,
): Promise<string> {
  const { command, text, from } = found;
  const { kind, name } = command.program;
  if (kind === 'file' || kind === 'executable') {
    if (!staysInside(name)) throw unsupportedStart(text, from, `${name} lies outside the release`);
    const file = await resolveFile(directory, name);
    if (file !== undefined) return file;
    throw new AppError('nothing_to_run', `${from} runs ${name}, which is not there`, {
      hint: 'Does the build make it, and at this place? Was it left out of the upload, by .gitignore perhaps?',
    });
  }
  const file = manifest === undefined ? undefined : await resolveBin(directory, manifest, name);
  if (file !== undefined) return file;
  throw withoutProgram(found, name);
}

export function withoutProgram({ text, from }: FoundCommand, name: string): AppError {
  return unsupportedStart(
    text,
    from,
    `no package in dependencies brings a program "${name}"`,
    `Add the package of ${name} to dependencies (devDependencies are gone when the app runs), or start a file: \`node server.js\`.`,
  );
}
