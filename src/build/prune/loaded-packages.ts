import { join } from 'node:path';
import { filesOf, importedSources } from '../start-command/sources.ts';
import type { StartDecision } from '../start-command/start-plan.ts';

/**
 * Statement at the top of a file that loads a package: `import` and `export … from` without types, and `require`, also as compilers
 * write it. A package that is loaded further inside may be for development only.
 */
const statement =
  /^(?:(?:(?:const|let|var)\s[^=;]{1,500}=\s{0,9}(?:\w{1,40}\(){0,3})?require\(\s{0,9}|(?:import|export)\s(?!type\b)[^'";]{1,600}?\bfrom\s{0,9}|import\s{0,9})["']((?:@[\w.-]{1,100}\/)?[\w-][\w.-]{0,100})(?:\/[^"'\n]{0,200})?["']/gm;

/** Returns the packages that the files which start an app and its background processes load, directly or through other files. */
export function loadedPackages(
  tree: string,
  { candidates, background }: Pick<StartDecision, 'candidates' | 'background'>,
): string[] {
  const ofCommands = [...candidates, ...background].flatMap(({ command }) =>
    command?.target.kind === 'file' ? [join(command.directory, command.target.name)] : [],
  );
  const files = [...ofCommands, ...candidates.flatMap((candidate) => candidate.files)];
  const entries = files.filter((path) => !path.includes('*')).map((path) => filesOf(path));
  const names = new Set<string>();
  for (const { text } of importedSources(tree, entries)) {
    for (const [, name = ''] of text.matchAll(statement)) names.add(name);
  }
  return [...names];
}
