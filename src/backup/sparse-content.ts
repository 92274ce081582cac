import { NotATar } from './archive-reader.ts';

const block = 512;
/** Most pieces that are read: more than ArchiveWriter writes. */
const mostPieces = 1_000_000;
/** Longest number in a list of pieces: no file is larger than 2^53 bytes. */
const longestNumber = 16;

/**
 * Splits the content of a sparse entry into its pieces: see ArchiveWriter.sparseEntry.
 * @param size of the file, with its holes
 * @throws NotATar if the pieces are not in order, or not in the file
 */
export async function* piecesIn(
  content: AsyncIterable<Buffer>,
  size: number,
): AsyncGenerator<{ offset: number; chunk: Buffer }> {
  if (!Number.isSafeInteger(size) || size < 0) throw damaged();
  const list = new PieceList();
  let current = { offset: 0, length: 0 };
  let index = 0;
  for await (const chunk of content) {
    let rest = list.push(chunk);
    while (rest.length > 0) {
      if (current.length === 0) {
        const next = list.pieces[index];
        index += 1;
        if (next === undefined || next.offset < current.offset || next.offset + next.length > size)
          throw damaged();
        current = next;
        continue;
      }
      const part = rest.subarray(0, current.length);
      yield { offset: current.offset, chunk: part };
      current = { offset: current.offset + part.length, length: current.length - part.length };
      rest = rest.subarray(part.length);
    }
  }
  if (!list.isWhole || current.length > 0 || list.pieces.slice(index).some(({ length }) => length > 0))
    throw damaged();
}

/** Reads the list at the start of the content: a number a line, first the number of pieces, up to the end of a block. */
class PieceList {
  readonly pieces: { offset: number; length: number }[] = [];
  #left: number | undefined;
  #offset: number | undefined;
  #digits = '';
  #bytes = 0;
  #isListed = false;

  /** true if the list has been read up to the end of its block */
  get isWhole(): boolean {
    return this.#isListed && this.#bytes % block === 0;
  }

  /** @returns the bytes that follow the list */
  push(chunk: Buffer): Buffer {
    let at = 0;
    for (; at < chunk.length && !this.isWhole; at += 1) {
      this.#bytes += 1;
      if (!this.#isListed) this.#take(chunk[at] ?? 0);
    }
    return chunk.subarray(at);
  }

  #take(byte: number): void {
    if (byte >= 0x30 && byte <= 0x39 && this.#digits.length < longestNumber)
      this.#digits += String.fromCharCode(byte);
    else if (byte === 0x0a && this.#digits !== '') {
      this.#number(Number(this.#digits));
      this.#digits = '';
    } else throw damaged();
  }

  #number(number: number): void {
    if (number > mostPieces && this.#left === undefined) throw damaged();
    if (this.#left === undefined) this.#left = number;
    else if (this.#offset === undefined) this.#offset = number;
    else {
      this.pieces.push({ offset: this.#offset, length: number });
      this.#offset = undefined;
      this.#left -= 1;
    }
    this.#isListed = this.#left === 0;
  }
}

function damaged(): NotATar {
  return new NotATar('a file with holes has no proper list of its pieces', false);
}
