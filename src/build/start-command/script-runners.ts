import type { Word } from '../../releases/words.ts';
import { NeedsShell } from './options.ts';
import { startsOthers } from './programs.ts';
import { manifestFor } from './project.ts';
import type { Trail } from './trail.ts';
import type { Behind, Wrapper } from './wrappers.ts';

/** Programs that run scripts of package.json one after the other. */
export const scriptRunners: Record<string, Wrapper> = {
  'run-s': (words, trail) => inSequence('run-s', words, trail),
  'npm-run-all': (words, trail) => inSequence('npm-run-all', words, trail),
};

const sequential = new Set([
  '-s',
  '--serial',
  '--sequential',
  '--silent',
  '-n',
  '-l',
  '--print-name',
  '--print-label',
]);

/** Returns the scripts as a command line. @throws NeedsShell for patterns of names, other options, and scripts that do not exist */
async function inSequence(program: string, words: Word[], trail: Trail): Promise<Behind> {
  const names = words.filter((word) => typeof word !== 'string' || !sequential.has(word));
  const { scripts = {} } = (await manifestFor(trail.project, trail.directory))?.manifest ?? {};
  const isScript = (name: Word) =>
    typeof name === 'string' && /^[\w:.-]+$/.test(name) && Object.hasOwn(scripts, name);
  if (names.length === 0 || !names.every(isScript)) {
    trail.keep.add(program);
    throw new NeedsShell(startsOthers[program]);
  }
  return { text: names.map((name) => `npm run ${name}`).join(' && ') };
}
