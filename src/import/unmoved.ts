import { lookup } from 'node:dns/promises';
import { isOwnConfig } from '../edge/nginx-config.ts';
import { decoded } from './diff.ts';
import { directivesIn, isLua, type PlacedDirective } from './nginx-directives.ts';
import { choices, isHere } from './proxies.ts';

/** Line of a file of nginx. */
export interface Line {
  path: string;
  /** from 1 */
  number: number;
  text: string;
}

/** Directives whose arguments send no request anywhere. */
const harmless = new Set([
  ...['listen', 'server_name', 'include', 'location', 'if', 'valid_referers', 'log_format', 'sub_filter'],
  ...['add_header', 'add_trailer', 'more_set_headers', 'more_set_input_headers'],
  ...['proxy_set_header', 'grpc_set_header', 'fastcgi_param', 'uwsgi_param', 'scgi_param'],
]);

/** Port that a variable names, as in `http://127.0.0.1:$port`. */
const portVariable = /:\$(?!\{?(?:server_port|proxy_port)\b)/;
/** Host and port. A regular expression has a backslash before each dot. */
const hostAndPort = /(\[[\da-f:.]+\]|[\w.$\\{}-]*):(\d{1,5})(?!\d)/gi;
const luaComment = /--\[\[[\s\S]*?\]\]|--[^\n]*/g;
/** Port in code: after a host, or as the value of a name for a port. */
const portInLua = /(?:["']\s*,\s*|port["'\]]*\s*=\s*["']?)(\d{1,5})(?!\d)/gi;

/**
 * Finds lines of nginx that may still send requests to ports of this machine. nginx resolves names when it starts, and so does this
 * function. Leaves out the files of Sluice's domains.
 * @param files with their texts
 */
export async function findUnmoved(
  files: ReadonlyMap<string, string>,
  ports: ReadonlySet<number>,
): Promise<Line[]> {
  const others = [...files].filter(([, text]) => !isOwnConfig(text));
  const all = others.flatMap(([path, text]) =>
    [...directivesIn(text)]
      .filter(({ name, around }) => choices.has(around.at(-1) ?? '') || !harmless.has(name))
      .map((directive) => ({ path, text, directive })),
  );
  const hasPortVariable = all.some(({ directive: { args } }) =>
    args.some(({ text }) => portVariable.test(text)),
  );
  const lines: Line[] = [];
  for (const { path, text, directive } of all) {
    const isNamed =
      (hasPortVariable && isPortValue(directive, ports)) || (await hasAddress(directive, ports));
    if (isNamed) lines.push(lineAt(path, text, directive.start));
  }
  return lines;
}

/** Returns true if a directive gives a variable the value of a port. */
function isPortValue({ name, args, around }: PlacedDirective, ports: ReadonlySet<number>): boolean {
  const value = choices.has(around.at(-1) ?? '') ? args[0] : name === 'set' ? args[1] : undefined;
  return /^\d+$/.test(value?.text ?? '') && ports.has(Number(value?.text));
}

async function hasAddress(directive: PlacedDirective, ports: ReadonlySet<number>): Promise<boolean> {
  const texts = directive.args.map(({ text }) => text);
  const code = isLua(directive) ? (texts.pop() ?? '').replace(luaComment, '') : '';
  for (const text of [...texts, code]) {
    for (const [, host = '', port] of text.matchAll(hostAndPort))
      if (ports.has(Number(port)) && (await mayBeHere(host.replaceAll('\\', '')))) return true;
  }
  return [...code.matchAll(portInLua)].some(([, port]) => ports.has(Number(port)));
}

/** Returns false for a host that is surely another machine. */
async function mayBeHere(host: string): Promise<boolean> {
  if (host === '' || host.includes('$') || isHere(host)) return true;
  // nginx does not start with a name that it cannot resolve, so such a word is no host.
  const addresses = await lookup(host, { all: true }).catch(() => []);
  return addresses.some(({ address }) => isHere(address));
}

function lineAt(path: string, text: string, at: number): Line {
  const from = text.lastIndexOf('\n', at - 1) + 1;
  const number = text.slice(0, from).split('\n').length;
  return { path, number, text: decoded(text.slice(from).split('\n', 1)[0] ?? '').trim() };
}
