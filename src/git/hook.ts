import type { Duplex } from 'node:stream';
import type { RefUpdate } from './refs.ts';

/** Push that the pre-receive hook asks about. */
export interface PushRequest {
  /** process id of the hook */
  pid: number;
  updates: RefUpdate[];
  /** true if the push has more refs than `updates` */
  isCut: boolean;
  /** variables that show git the objects of the push, which git keeps apart until the push is accepted */
  quarantine: Record<string, string>;
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
 * Our end of the two sockets that the pre-receive hook inherits through git. On the first socket the hook sends its process id,
 * three lines about its objects, a line for each ref and a line with a dot. Then the hook prints what it receives there. On the
 * second socket the hook reads the verdict. If our process ends, both sockets close, and the hook refuses the push.
 */
export class PushHook {
  /** request of the hook; null if git ends without running the hook, as for a push that changes nothing */
  readonly request: Promise<PushRequest | null>;
  readonly #messages: Duplex;
  readonly #verdict: Duplex;

  constructor(messages: Duplex, verdict: Duplex) {
    this.#messages = messages;
    this.#verdict = verdict;
    this.request = readRequest(messages);
    // The hook may be killed at any time.
    messages.on('error', () => undefined);
    verdict.on('error', () => undefined);
    verdict.resume();
  }

  /** Prints text on the terminal of the client. */
  write(text: string): void {
    if (this.#messages.writable) this.#messages.write(text);
  }

  /** Prints text that is dropped if the client does not keep up. The build log has all lines. */
  offer(text: string): void {
    if (this.#messages.writableLength < maxUnread) this.write(text);
  }

  /** Ends the hook, for which git waits. */
  answer(accepted: boolean): void {
    this.#messages.end();
    this.#verdict.end(accepted ? 'accepted\n' : 'refused\n');
  }
}

/** Reads a request; null if it ends early. Reads to the end even above the limit, because git waits until all is read. */
function readRequest(messages: Duplex): Promise<PushRequest | null> {
  return new Promise((resolve) => {
    let [text, tail] = ['', ''];
    messages.setEncoding('utf8').on('data', (chunk: string) => {
      tail = (tail + chunk).slice(-endMark.length);
      if (text.length < maxRequest) text += chunk;
      if (tail === endMark) resolve({ ...parse(text), isCut: text.length >= maxRequest });
    });
    messages.once('close', () => resolve(null));
    messages.once('end', () => resolve(null));
  });
}

/** Line that no ref can be. */
const endMark = '\n.\n';

function parse(text: string): Omit<PushRequest, 'isCut'> {
  const [pid = '', ...lines] = text.split('\n');
  const values = lines.splice(0, quarantineVariables.length);
  const quarantine = quarantineVariables.map((name, index) => [name, values[index] ?? '']);
  const updates = lines.flatMap((line) => {
    const [, before, after, ref] = /^(\w+) (\w+) (.+)$/.exec(line) ?? [];
    return before && after && ref ? [{ ref, old: before, new: after }] : [];
  });
  return {
    pid: Number(pid),
    updates,
    quarantine: Object.fromEntries(quarantine.filter(([, value]) => value !== '')),
  };
}
