import type { Duplex } from 'node:stream';
import type { RefUpdate } from './refs.ts';

/** Push that the pre-receive hook asks about. */
export interface PushRequest {
  updates: RefUpdate[];
  /** true if the push has more refs than `updates` */
  isCut: boolean;
  /** variables that show git the objects of the push, which git keeps apart until the push is accepted */
  quarantine: Record<string, string>;
  /** options of the push, as in `git push -o no-cache`; the first four */
  options: string[];
}

/** Limit of the refs that are read, in bytes: about 50,000 refs. git itself has no limit. */
const maxRequest = 4 * 1024 ** 2;

/** Limit of unread output, in bytes. Above it, log lines are dropped, so that a client that does not read costs no memory. */
const maxUnread = 1024 ** 2;

const quarantineVariables = [
  'GIT_OBJECT_DIRECTORY',
  'GIT_ALTERNATE_OBJECT_DIRECTORIES',
  'GIT_SHALLOW_FILE',
] as const;

/**
 * Our end of the socket that the pre-receive hook inherits through git. The hook sends three lines about its objects, a line
 * with the options of the push, a line for each ref and a line with a dot. Then the hook prints each line that begins with a space, until it receives the verdict. If our
 * process ends, the socket closes, and the hook refuses the push.
 */
export class PushHook {
  /** request of the hook; null if git ends without running the hook, as for a push that changes nothing */
  readonly request: Promise<PushRequest | null>;
  readonly #socket: Duplex;

  constructor(socket: Duplex) {
    this.#socket = socket;
    this.request = readRequest(socket);
    // The hook may be killed at any time.
    socket.on('error', () => undefined);
  }

  /** Prints whole lines on the terminal of the client. */
  write(lines: string): void {
    if (this.#socket.writable) this.#socket.write(lines.replaceAll(/[^\n]*\n/g, ' $&'));
  }

  /** Prints whole lines that are dropped if the client does not keep up. The build log has all lines. */
  offer(lines: string): void {
    if (this.#socket.writableLength < maxUnread) this.write(lines);
  }

  /** Ends the hook, for which git waits. */
  answer(accepted: boolean): void {
    this.#socket.end(accepted ? 'accepted\n' : '');
  }
}

/** Reads a request; null if it ends early. Reads to the end even above the limit, because git waits until all is read. */
function readRequest(socket: Duplex): Promise<PushRequest | null> {
  return new Promise((resolve) => {
    let [text, tail] = ['', ''];
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      tail = (tail + chunk).slice(-endMark.length);
      if (text.length < maxRequest) text += chunk;
      if (tail === endMark) resolve({ ...parse(text), isCut: text.length >= maxRequest });
    });
    socket.once('close', () => resolve(null));
    socket.once('end', () => resolve(null));
  });
}

/** Line that no ref can be. */
const endMark = '\n.\n';

function parse(text: string): Omit<PushRequest, 'isCut'> {
  const lines = text.split('\n');
  const values = lines.splice(0, quarantineVariables.length);
  const options = (lines.shift() ?? '').split(' ').filter((option) => option !== '');
  const quarantine = quarantineVariables.map((name, index) => [name, values[index] ?? '']);
  const updates = lines.flatMap((line) => {
    const [, before, after, ref] = /^(\w+) (\w+) (.+)$/.exec(line) ?? [];
    return before && after && ref ? [{ ref, old: before, new: after }] : [];
  });
  return { updates, options, quarantine: Object.fromEntries(quarantine.filter(([, value]) => value !== '')) };
}
