import { blankComments } from '../start-command/comments.ts';
import { filesOf, importedSources } from '../start-command/sources.ts';
import { type StartDecision, startFiles } from '../start-command/start-plan.ts';

/** Name of a package in quotes, with or without a path inside of the package. */
const quoted = String.raw`["']((?:@[\w.-]{1,100}\/)?[\w-][\w.-]{0,100})(?:\/[^"'\n]{0,200})?["']`;

/**
 * Statement at the top of a file that loads a package: `import` and `export … from` without types, and `require`. A package that is
 * loaded further inside may be for development only.
 */
const statement = new RegExp(
  String.raw`^(?:require\(\s{0,9}|(?:import|export)\s(?!type\b)[^'";]{1,600}?\bfrom\s{0,9}|import\s{0,9})${quoted}`,
  'gm',
);

/** Beginning of a declaration at the top of a file. */
const declaration = /^(?:const|let|var)\s/gm;

/** End of a declaration, or of the part of it that runs when the file is loaded. */
const endOfDeclaration =
  /;|=>|\b(?:function|class)\s{0,9}[\w$*({]|\)\s{0,9}\{|(?<!(?:[,={([]|^(?:const|let|var))[ \t]*)[\n\u2028\u2029](?![\s,})\]=])/;

/** Limit of a declaration, in characters. */
const maxDeclaration = 2000;

/** Variable that a package is assigned to, also as compilers write it. */
const assigned = new RegExp(String.raw`=\s{0,9}(?:\w{1,40}\(){0,3}require\(\s{0,9}${quoted}`, 'g');

/** Returns the packages that the files which start an app and its background processes load, directly or through other files. */
export async function loadedPackages(
  tree: string,
  { candidates, background }: Pick<StartDecision, 'candidates' | 'background'>,
): Promise<string[]> {
  const files = await startFiles(tree, [...candidates, ...background]);
  const names = new Set<string>();
  for (const { text: written } of importedSources(tree, files.map(filesOf))) {
    const text = written.replaceAll(/\r\n?/g, '\n');
    for (const [, name = ''] of text.matchAll(statement)) names.add(name);
    for (const part of declarations(text))
      for (const [, name = ''] of part.matchAll(assigned)) names.add(name);
  }
  return [...names];
}

/** Yields the declarations at the top of a file, none of which contains another. */
function* declarations(text: string): Generator<string> {
  let until = 0;
  for (const { index } of text.matchAll(declaration)) {
    if (index < until) continue;
    const part = blankComments(text.slice(index, index + maxDeclaration));
    const end = part.search(endOfDeclaration);
    until = index + (end < 0 ? part.length : end);
    yield part.slice(0, until - index);
  }
}
