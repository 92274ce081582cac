import { networkInterfaces } from 'node:os';
import { tokensOf } from '../edge/nginx-dump.ts';
import { fromUrlHost, isLoopback, isWildcard } from '../system/net/address.ts';

/** Address to which nginx sends requests. */
interface Target {
  host: string;
  port: number;
}

interface Argument {
  text: string;
  start: number;
  end: number;
}

/** Directive of nginx with its position in a file. */
interface Placed {
  name: string;
  args: Argument[];
  /** names of the blocks around it, the innermost last */
  around: string[];
  start: number;
  end: number;
}

/** Directives that name the address of a server, with the number of the argument. */
const naming: Record<string, number> = { proxy_pass: 0, grpc_pass: 0, set: 1 };

/**
 * Replaces the addresses in a file of nginx that are ports of this machine.
 * @param ports that an app leaves
 * @param to address that the app has now
 * @returns the new text; the same text if the file does not name these ports
 */
export function replaceProxies(text: string, ports: ReadonlySet<number>, to: Target): string {
  const edits: { start: number; end: number; by: string }[] = [];
  /** upstreams that have the new address already */
  const done = new Set<number>();
  for (const { name, args, around, start, end, block } of directivesIn(text)) {
    if (name === 'server' && around.at(-1) === 'upstream') {
      const [address] = args;
      const found = address && addressIn(address.text, ports);
      if (address === undefined || found === undefined) continue;
      // An app of PM2 may have a port for each process. Here, all have one.
      if (done.has(block)) edits.push({ ...wholeLine(text, start, end), by: '' });
      else edits.push({ ...address, by: quotedAs(text, address, found.replacedBy(to)) });
      done.add(block);
    } else if (Object.hasOwn(naming, name)) {
      const address = args[naming[name] ?? 0];
      const found = address && addressIn(address.text, ports);
      if (address !== undefined && found !== undefined)
        edits.push({ ...address, by: quotedAs(text, address, found.replacedBy(to)) });
    }
  }
  return edits.reduceRight((all, { start, end, by }) => `${all.slice(0, start)}${by}${all.slice(end)}`, text);
}

/** Returns a word with the quotes that another word has in a file. */
function quotedAs(text: string, { start }: Argument, word: string): string {
  const [quote = ''] = /^["']/.exec(text.slice(start, start + 1)) ?? [];
  return `${quote}${word}${quote}`;
}

/** Finds a port of this machine in `http://localhost:3000/path`, `127.0.0.1:3000` or `[::1]:3000`. */
function addressIn(word: string, ports: ReadonlySet<number>): { replacedBy(to: Target): string } | undefined {
  const [, scheme = '', host = '', port = '', rest = ''] =
    /^((?:https?|grpcs?):\/\/)?(\[[\da-f:.]+\]|[\w.-]+):(\d{1,5})((?:\/.*)?)$/is.exec(word) ?? [];
  if (!ports.has(Number(port)) || !isHere(host)) return undefined;
  return { replacedBy: ({ host: by, port: to }) => `${scheme}${by}:${to}${rest}` };
}

/** Returns true if a host is this machine. */
function isHere(host: string): boolean {
  const address = fromUrlHost(host);
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return isLoopback(host) || isWildcard(address) || own.some((each) => each.address === address);
}

/** Yields all directives of a file. `block` is the position of the block that a directive is in. */
function* directivesIn(text: string): Generator<Placed & { block: number }> {
  const around: string[] = [];
  const blocks = [-1];
  let words: Argument[] = [];
  for (const token of tokensOf(text)) {
    if (token.mark === undefined) {
      words.push({ text: token.word, start: token.start, end: token.end });
      continue;
    }
    const [first, ...args] = words;
    words = [];
    if (first !== undefined && token.mark !== '}')
      yield {
        name: first.text,
        args,
        around: [...around],
        start: first.start,
        end: token.end,
        block: blocks.at(-1) ?? -1,
      };
    if (token.mark === '{') {
      around.push(first?.text ?? '');
      blocks.push(token.start);
    } else if (token.mark === '}') {
      around.pop();
      blocks.pop();
    }
  }
}

/** Widens a range to whole lines if nothing else is in them. */
function wholeLine(text: string, start: number, end: number): { start: number; end: number } {
  const from = text.lastIndexOf('\n', start - 1) + 1;
  const to = text.indexOf('\n', end);
  const isAlone = text.slice(from, start).trim() === '' && to !== -1 && text.slice(end, to).trim() === '';
  return isAlone ? { start: from, end: to + 1 } : { start, end };
}
