import type { Duplex } from 'node:stream';
import type { RefUpdate } from './refs.ts';

/** What the pre-receive hook hands over. */
export interface PushRequest {
  /** process id of the hook */
  pid: number;
  updates: RefUpdate[];
  /** whether there are more refs than are looked at, of which `updates` has the first */
  isCut: boolean;
  /** where git keeps the objects of the push until it is accepted: variables for a git that is to see them */
  quarantine: Record<string, string>;
}

/** Bytes of refs that are looked at, which is some 50,000 of them: git itself takes any number. */
const maxRequest = 4 * 1024 ** 2;

/** More than this unread by the pusher, and lines of log are left out: one who sleeps must not cost us memory. */
const maxUnread = 1024 ** 2;

const quarantineVariables = [
  'GIT_OBJECT_DIRECTORY',
  'GIT_ALTERNATE_OBJECT_DIRECTORIES',
  'GIT_SHALLOW_FILE',
] as const;

/**
 * Our end of the two sockets that the pre-receive hook has inherited from us through git. On the first it sends its process
 * id, three lines for its objects, a line for each ref and one with a dot, and then shows whatever comes back; on the second it
 * reads the verdict. Where we are gone, both are closed, and the push is refused.
 */
export class HookPort {
  /** what the hook asks; null where git ends without running it, as for a push that changes nothing */
  readonly request: Promise<PushRequest | null>;
  readonly #messages: Duplex;
  readonly #verdict: Duplex;

  constructor(messages: Duplex, verdict: Duplex) {
    this.#messages = messages;
    this.#verdict = verdict;
    this.request = readRequest(messages);
    // A hook that has been killed has nobody left to tell.
    messages.on('error', () => undefined);
    verdict.on('error', () => undefined);
    verdict.resume();
  }

  /** For what must arrive. */
  tell(text: string): void {
    if (this.#messages.writable) this.#messages.write(text);
  }

  /** For what may be left out where the pusher does not keep up: the build log has it all. */
  offer(text: string): void {
    if (this.#messages.writableLength < maxUnread) this.tell(text);
  }

  /** Ends the hook, and with it the wait of git. */
  answer(accepted: boolean): void {
    this.#messages.end();
    this.#verdict.end(accepted ? 'accepted\n' : 'refused\n');
  }
}

/** Null where the sender ends before it has said all. What is too much is read all the same: git waits until it is. */
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

/** A line that can be no ref. */
const endMark = '\n.\n';

function parse(text: string): Omit<PushRequest, 'isCut'> {
  const [pid = '', ...lines] = text.split('\n');
  const places = lines.splice(0, quarantineVariables.length);
  const quarantine = quarantineVariables.flatMap((name, index) => {
    const value = places[index] ?? '';
    return value === '' ? [] : [[name, value] as const];
  });
  const updates = lines.flatMap((line) => {
    const [, before, after, ref] = /^(\w+) (\w+) (.+)$/.exec(line) ?? [];
    return before && after && ref ? [{ ref, old: before, new: after }] : [];
  });
  return { pid: Number(pid), updates, quarantine: Object.fromEntries(quarantine) };
}
