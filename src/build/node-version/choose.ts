import { AppError } from '../../errors/app-error.ts';
import type { Notice } from '../../protocol/runner.ts';
import type { NodeRequest } from '../../releases/release.ts';
import { codeNames, knownVersions, oldestNode, regressions } from './known.ts';
import type { NodeRange } from './range.ts';

/** Node.js for a release, and why. */
export interface NodeChoice {
  /** exact version */
  version: string;
  /** true for the Node.js of Sluice */
  own: boolean;
  /** requests of the app, the one with precedence first */
  requests: NodeRequest[];
  /** clause for the log, such as `.nvmrc asks for 22` */
  reason: string;
  notices: Notice[];
}

/** Versions that an app may get. */
export interface AvailableNodes {
  /** version of Sluice's own Node.js */
  own: string;
  /** Returns the versions of the registry; called only if the own Node.js is not the choice. */
  list: () => Promise<readonly string[]>;
  /** the only major version allowed; left out if all are allowed */
  major?: number;
}

type Ranged = NodeRequest & { range: NodeRange };

/**
 * Chooses the Node.js of an app: Sluice's own if the app asks for none or accepts it, otherwise the newest version that the app
 * accepts. The first request decides; further ones narrow the choice where they can. Prefers LTS lines, and
 * avoids versions with known faults unless the app accepts no other. An app that accepts only older versions than there are gets
 * the oldest line.
 * @throws AppError `unsupported_node_version`
 */
export async function chooseNode(requests: NodeRequest[], nodes: AvailableNodes): Promise<NodeChoice> {
  const { own, major } = nodes;
  const mayBeOwn = major === undefined || majorOf(own) === major;
  if (requests.length === 0 && mayBeOwn) {
    return { version: own, own: true, requests, reason: 'the app asks for no version', notices: [] };
  }
  // Loaded here to save 3 MB of memory: many apps ask for no version.
  const { parseRange } = await import('./range.ts');
  const notices: Notice[] = [];
  const ranged = requests.flatMap((request): Ranged[] => {
    const range = parseRange(request.text);
    if (range === undefined) notices.push(unknownRequest(request));
    return range === undefined ? [] : [{ ...request, range }];
  });
  const [first, ...others] = ranged;
  const reason = first === undefined ? 'the app asks for no known version' : reasonOf(first);
  if (mayBeOwn && ranged.every(({ range }) => range.has(own))) {
    return { version: own, own: true, requests, reason, notices };
  }

  const available = await usable([own, ...(await listOrKnown(nodes))], major);
  let matches = first === undefined ? available : select(first, available, notices);
  for (const other of others) {
    const narrowed = matches.filter((version) => other.range.has(version));
    if (narrowed.length > 0) matches = narrowed;
    else notices.push(contradiction(other, first as Ranged));
  }
  const deciding = ranged.filter(({ range }) => !range.has(own)).map(reasonOf);
  const faultOf = await knownFaults();
  const version = prefer(matches, own, faultOf) ?? own;
  const fault = version === own ? undefined : faultOf(version);
  if (fault !== undefined) notices.push(knownFault(version, fault));
  const isOwn = version === own;
  return { version, own: isOwn, requests, reason: isOwn ? reason : deciding.join(', and '), notices };
}

async function listOrKnown({ list }: AvailableNodes): Promise<readonly string[]> {
  const listed = await list();
  return listed.length === 0 ? knownVersions : listed;
}

/** Returns the versions that Sluice can install, the oldest first. */
async function usable(versions: readonly string[], major?: number): Promise<string[]> {
  const { compareVersions } = await import('./range.ts');
  return [...new Set(versions)]
    .filter((version) => !version.includes('-') && compareVersions(version, oldestNode) >= 0)
    .filter((version) => major === undefined || majorOf(version) === major)
    .sort(compareVersions);
}

/** Returns a function that describes the known fault of a version; undefined if none is known. */
async function knownFaults(): Promise<(version: string) => string | undefined> {
  const { parseRange } = await import('./range.ts');
  const faults = regressions.map(({ range, fault }) => ({ range: parseRange(range), fault }));
  return (version) => faults.find(({ range }) => range?.has(version))?.fault;
}

/** Returns the newest version of a major version, without a known fault if there is one; undefined if there is none. */
export async function newestOfMajor(major: number, versions: readonly string[]): Promise<string | undefined> {
  return prefer(await usable(versions, major), undefined, await knownFaults());
}

/** Returns the versions for the request that decides. @throws AppError `unsupported_node_version` */
function select(request: Ranged, available: string[], notices: Notice[]): string[] {
  const { range } = request;
  const matches = available.filter((version) => range.has(version));
  if (matches.length > 0) return matches;
  const [oldest = ''] = available;
  const like = range.isBefore(oldest) ? oldest : range.exact;
  const replacements = like === null ? [] : available.filter((version) => majorOf(version) === majorOf(like));
  if (replacements.length === 0) throw unsupported(request, available);
  notices.push({
    code: 'node_version_replaced',
    message: `${reasonOf(request)}, which Sluice cannot install: the app runs on Node.js ${majorOf(replacements[0] ?? '')}`,
    hint: `Test the app with this version, and change ${request.from}.`,
  });
  return replacements;
}

/** Returns the best of some versions, which are sorted. */
function prefer(
  versions: string[],
  own: string | undefined,
  faultOf: (version: string) => string | undefined,
): string | undefined {
  const isBetter = [
    (version: string) => version === own,
    (version: string) => faultOf(version) === undefined,
    isLts,
  ];
  const best = isBetter.reduce((some, isGood) => {
    const good = some.filter(isGood);
    return good.length > 0 ? good : some;
  }, versions);
  return best.at(-1);
}

/** Returns true if a version is of an LTS line. */
function isLts(version: string): boolean {
  return Object.values(codeNames).includes(majorOf(version));
}

function reasonOf({ from, text }: NodeRequest): string {
  return `${from} asks for ${shown(text) || 'any version'}`;
}

function unknownRequest({ from, text }: NodeRequest): Notice {
  return {
    code: 'node_request_ignored',
    message: `${from} asks for Node.js "${shown(text)}", which is not a version`,
    hint: 'Write a version or a range, such as "22" or ">=20 <25".',
  };
}

/** Returns the text of a request in one short line. */
function shown(text: string): string {
  const line = text
    .slice(0, 200)
    .replaceAll(/[\s\p{Cc}]+/gu, ' ')
    .trim();
  return line.length > 60 ? `${line.slice(0, 60)}…` : line;
}

function contradiction(request: NodeRequest, first: NodeRequest): Notice {
  return {
    code: 'node_request_ignored',
    message: `${reasonOf(request)}, but ${reasonOf(first)} and has precedence`,
    hint: 'Change one of them, or set "node" in sluice.json.',
  };
}

function knownFault(version: string, fault: string): Notice {
  return {
    code: 'node_version_faulty',
    message: `Node.js ${version} has a known fault: ${fault}`,
    hint: 'Sluice uses this version because the app asks for it and for no other. Ask for another version.',
  };
}

function unsupported(request: NodeRequest, available: string[]): AppError {
  const newest = available.filter((version, at) => majorOf(version) !== majorOf(available[at + 1] ?? ''));
  const example = newest.findLast(isLts) ?? '';
  return new AppError('unsupported_node_version', `${reasonOf(request)}: there is no such Node.js`, {
    hint: `Set "node" in sluice.json, such as "node": "${majorOf(example)}". The newest versions that Sluice can install: ${newest.join(', ')}.`,
  });
}

/** Returns true if all requests of an app allow a version. Ignores a request that is not a version. */
export async function accepts(requests: NodeRequest[], version: string): Promise<boolean> {
  if (requests.length === 0) return true;
  const { parseRange } = await import('./range.ts');
  return requests.every(({ text }) => parseRange(text)?.has(version) ?? true);
}

/** Returns true if a version is older than another one of the same major version. */
export function isBefore(version: string, other: string): boolean {
  return version.localeCompare(other, 'en', { numeric: true }) < 0;
}

/** Returns the major version of a version, such as 22. Native addons work with all versions of one major version. */
export function majorOf(version: string): number {
  return Number.parseInt(version, 10);
}
