/** Longest line that is searched: longer ones are generated. */
const longestLine = 1000;
/** Limit of the variables of a module that are searched for changes. */
const mostVariables = 50;

/** Name of a variable, a field or a class. */
export const name = '[A-Za-z_$][\\w$]*';
const type = '(?:\\s*:[^=\\n]{1,200})?';
/** Start of an expression whose value is a collection. */
export const collection = '\\[|\\{\\s*\\}|new (?:Map|Set)\\b|Object\\.create\\(null\\)';
/** Changes of a collection or a number, after its name. */
const change =
  '(?:\\.(?:push|unshift|splice|pop|shift|set|add|delete|clear)\\(|\\[[^\\]\\n]{1,100}\\]\\s*(?:[-+]?=(?![=>])|\\+\\+)|\\s*(?:\\+\\+|--|[-+]?=(?![=>])))';

/** Variables of a module that hold a collection, or a number that may change. */
const variables = new RegExp(
  `^(?:export )?(?:(?:let|var|const) (${name})${type} = (?:${collection})|(?:let|var) (${name})${type} = \\d+;?\\s*$)`,
  'gm',
);
/** Fields of a class that hold a collection. */
export const fields = new RegExp(
  `^[ \\t]+(?:(?:private|public|protected|readonly|static) ){0,3}(#?${name})${type} = (?:${collection})`,
  'gm',
);
/** Classes of which a framework makes one object for all requests. */
const singletons = /^@(?:Injectable|Controller|Service|Resolver|WebSocketGateway)\(/m;
const redeclared = new RegExp(`^[ \\t]+(?:let|const|var) (${name})`, 'gm');

/**
 * Returns the name of a variable in which a module keeps data between requests: a collection or a number of the module, or a
 * collection of a singleton, that a function changes. Returns undefined if there is none.
 */
export function findModuleState(source: string): string | undefined {
  const ofModule = [...source.matchAll(variables)].map(([, list, number]) => list ?? number ?? '');
  const isSingleton = singletons.test(source);
  if (ofModule.length === 0 && !isSingleton) return undefined;
  const lines = source.split('\n');
  // If a function has a variable of the same name, the changes may concern that one.
  const local = new Set([...source.matchAll(redeclared)].map(([, each]) => each));
  const own = ofModule.filter((each) => !local.has(each));
  const found = changedOne(own, '(?<![\\w$.#])', lines, isInFunction);
  if (found !== undefined || !isSingleton) return found;
  const ofObject = [...source.matchAll(fields)].map(([, field = '']) => field);
  return changedOne(ofObject, '\\bthis\\.', lines, () => true);
}

/**
 * Returns the first of some names that a line changes.
 * @param before pattern of what precedes a name
 * @param counts returns true for a line whose change counts
 */
export function changedOne(
  names: string[],
  before: string,
  all: string[],
  counts: (line: string, at: number) => boolean,
): string | undefined {
  if (names.length === 0) return undefined;
  const lines = all.filter((line) => line.length <= longestLine);
  const words = names.slice(0, mostVariables).map((each) => each.replaceAll('$', '\\$'));
  const pattern = new RegExp(`${before}(${words.join('|')})${change}`);
  for (const line of lines) {
    const found = pattern.exec(line);
    if (found !== null && counts(line, found.index)) return found[1];
  }
  return undefined;
}

/** Returns true if a change is part of a function: a module also fills its variables while it loads. */
function isInFunction(line: string, at: number): boolean {
  return /^\s/.test(line) || /=>|\bfunction\b/.test(line.slice(0, at));
}
