/** Lines that a change has replaced in place. */
interface Block {
  /** number of the first line in the old text, from 0 */
  from: number;
  /** number of the first line in the new text, from 0 */
  to: number;
  removed: string[];
  added: string[];
}

/** Finds lines that were replaced or removed in place, as `replaceProxies` does. Neighbouring changes are one block. */
function blocksOf(before: string, after: string): Block[] {
  const [old, next] = [before.split('\n'), after.split('\n')];
  const blocks: Block[] = [];
  let [from, to] = [0, 0];
  let block: Block | undefined;
  while (from < old.length || to < next.length) {
    if (old[from] === next[to]) {
      block = undefined;
      from += 1;
      to += 1;
      continue;
    }
    if (block === undefined) {
      block = { from, to, removed: [], added: [] };
      blocks.push(block);
    }
    // More lines are left in the old text, and the new line comes later there.
    const isRemoved = old.length - from > next.length - to && old.slice(from + 1).includes(next[to] ?? '');
    if (from < old.length) block.removed.push(old[from] ?? '');
    from += 1;
    if (isRemoved) continue;
    if (to < next.length) block.added.push(next[to] ?? '');
    to += 1;
  }
  return blocks;
}

/** Returns a text of nginx's files for people. In the program, each character is a byte, since a file may have any encoding. */
export function decoded(text: string): string {
  return Buffer.from(text, 'latin1').toString();
}

/**
 * Returns the lines that differ between two texts of nginx's files, for people: each with `-` or `+`, and its number in the old or new
 * text.
 */
export function diffLines(before: string, after: string): string[] {
  const line = (mark: string, number: number, text: string) =>
    `${mark}${String(number + 1).padStart(4)}  ${decoded(text)}`;
  return blocksOf(before, after).flatMap(({ from, to, removed, added }) => [
    ...removed.map((text, index) => line('-', from + index, text)),
    ...added.map((text, index) => line('+', to + index, text)),
  ]);
}

/**
 * Takes a change back in a text that other changes may have followed.
 * @returns undefined if the text no longer has exactly one place for each part of the change
 */
export function takeBack(
  current: string,
  { before, after }: { before: string; after: string },
): string | undefined {
  if (current === after) return before;
  // Taken back already, or never written.
  if (current === before) return before;
  let lines = current.split('\n');
  for (const { removed, added } of blocksOf(before, after)) {
    const places = lines.flatMap((_, at) =>
      added.length > 0 && added.every((text, index) => lines[at + index] === text) ? [at] : [],
    );
    const [place, ...others] = places;
    if (place === undefined || others.length > 0) return undefined;
    lines = lines.toSpliced(place, added.length, ...removed);
  }
  return lines.join('\n');
}

/** Returns true if a text has a change, also if other changes have followed. */
export function hasChange(current: string, change: { before: string; after: string }): boolean {
  return current !== change.before && takeBack(current, change) !== undefined;
}

/** Returns true if a text has at least one new line of a change. */
export function hasPart(current: string, { before, after }: { before: string; after: string }): boolean {
  const former = new Set(before.split('\n'));
  const added = new Set(after.split('\n').filter((line) => !former.has(line)));
  return current.split('\n').some((line) => added.has(line));
}
