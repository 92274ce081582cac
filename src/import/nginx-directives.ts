import { tokensOf } from '../edge/nginx-dump.ts';

export interface Argument {
  text: string;
  start: number;
  end: number;
}

/** Directive of nginx with its position in a file. */
export interface PlacedDirective {
  name: string;
  /** for a block of Lua, the last one is its code */
  args: Argument[];
  /** names of the blocks around it, the innermost last */
  around: string[];
  /** position of the innermost block */
  block: number;
  start: number;
  end: number;
}

/** Yields all directives of a file. */
export function* directivesIn(text: string): Generator<PlacedDirective, undefined> {
  const blocks: { directive: PlacedDirective | undefined; start: number }[] = [];
  let words: Argument[] = [];
  for (const token of tokensOf(text)) {
    if (token.mark === undefined) {
      words.push({ text: token.word, start: token.start, end: token.end });
      continue;
    }
    const [first, ...args] = words;
    words = [];
    const directive = first && {
      ...{ name: first.text, args, start: first.start, end: token.end },
      around: blocks.map(({ directive: of }) => of?.name ?? ''),
      block: blocks.at(-1)?.start ?? -1,
    };
    if (token.mark === '}') {
      const { directive: of, start = 0 } = blocks.pop() ?? {};
      if (of === undefined || !isLua(of)) continue;
      const code = { text: text.slice(start + 1, token.start), start: start + 1, end: token.start };
      yield { ...of, args: [...of.args, code] };
      continue;
    }
    if (token.mark === '{') blocks.push({ directive, start: token.start });
    if (directive !== undefined && !(token.mark === '{' && isLua(directive))) yield directive;
  }
  return undefined;
}

/** Returns true for a directive whose block is code in Lua. */
export function isLua({ name }: PlacedDirective): boolean {
  return name.endsWith('_by_lua_block');
}
