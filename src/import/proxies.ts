import { networkInterfaces } from 'node:os';
import { fromUrlHost, isLoopback, isWildcard } from '../system/net/address.ts';
import { type Argument, directivesIn, type PlacedDirective } from './nginx-directives.ts';

/** Address to which nginx sends requests. */
interface Target {
  host: string;
  port: number;
}

interface Edit {
  start: number;
  end: number;
  by: string;
}

/** Directives that name the address of a server, with the number of the argument. */
const naming: Record<string, number> = { proxy_pass: 0, grpc_pass: 0, proxy_redirect: 0, set: 1 };
/** Blocks whose lines are the possible values of a variable. */
export const choices: ReadonlySet<string> = new Set(['map', 'split_clients', 'geo']);

/**
 * Replaces the addresses in a file of nginx that are ports of this machine.
 * @param ports that an app leaves
 * @param to address that the app has now
 * @returns the new text; the same text if the file does not name these ports
 */
export function replaceProxies(text: string, ports: ReadonlySet<number>, to: Target): string {
  const directives = [...directivesIn(text)];
  const isServer = ({ name, around }: PlacedDirective) => name === 'server' && around.at(-1) === 'upstream';
  const edits = directives
    .filter((each) => !isServer(each))
    .flatMap((each) => editOf(text, addressArgument(each), ports, to));
  const servers = directives.filter((each) => isServer(each) && addressIn(each.args[0], ports) !== undefined);
  for (const group of Map.groupBy(servers, ({ block }) => block).values()) {
    // An app of PM2 may have a port for each process. Here, all have one.
    const kept = group.toSorted((one, other) => rankOf(one) - rankOf(other))[0];
    for (const each of group)
      edits.push(
        ...(each === kept
          ? editOf(text, each.args[0], ports, to)
          : [{ ...wholeLine(text, each.start, each.end), by: '' }]),
      );
  }
  return edits
    .toSorted((one, other) => one.start - other.start)
    .reduceRight((all, { start, end, by }) => `${all.slice(0, start)}${by}${all.slice(end)}`, text);
}

/** Returns the argument of a directive that may be the address of a server. */
function addressArgument({ name, args, around }: PlacedDirective): Argument | undefined {
  if (choices.has(around.at(-1) ?? '')) return args[0];
  return Object.hasOwn(naming, name) ? args[naming[name] ?? 0] : undefined;
}

/** Ranks a server of an upstream: first those that get requests now, then those that get them when others fail, then the others. */
function rankOf({ args }: PlacedDirective): number {
  const has = (parameter: string) => args.some(({ text }, index) => index > 0 && text === parameter);
  return has('down') ? 2 : has('backup') ? 1 : 0;
}

function editOf(text: string, address: Argument | undefined, ports: ReadonlySet<number>, to: Target): Edit[] {
  const found = addressIn(address, ports);
  if (address === undefined || found === undefined) return [];
  return [{ start: address.start, end: address.end, by: quotedAs(text, address, found.replacedBy(to)) }];
}

/** Returns a word with the quotes that another word has in a file. */
function quotedAs(text: string, { start }: Argument, word: string): string {
  const [quote = ''] = /^["']/.exec(text.slice(start, start + 1)) ?? [];
  return `${quote}${word}${quote}`;
}

/** Finds a port of this machine in `http://localhost:3000/path`, `127.0.0.1:3000$request_uri` or `[::1]:3000`. */
function addressIn(
  word: Argument | undefined,
  ports: ReadonlySet<number>,
): { replacedBy(to: Target): string } | undefined {
  const [, scheme = '', host = '', port = '', rest = ''] =
    /^((?:https?|grpcs?):\/\/)?(\[[\da-f:.]+\]|[\w.-]+):(\d{1,5})((?:\D.*)?)$/is.exec(word?.text ?? '') ?? [];
  if (!ports.has(Number(port)) || !isHere(host)) return undefined;
  return { replacedBy: ({ host: by, port: to }) => `${scheme}${by}:${to}${rest}` };
}

/** Returns true if a host is this machine: a numeric address, or `localhost`. */
export function isHere(host: string): boolean {
  const address = fromUrlHost(host);
  const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return isLoopback(host) || isWildcard(address) || own.some((each) => each.address === address);
}

/** Widens a range to whole lines if nothing else is in them. */
function wholeLine(text: string, start: number, end: number): { start: number; end: number } {
  const from = text.lastIndexOf('\n', start - 1) + 1;
  const to = text.indexOf('\n', end);
  const isAlone = text.slice(from, start).trim() === '' && to !== -1 && text.slice(end, to).trim() === '';
  return isAlone ? { start: from, end: to + 1 } : { start, end };
}
