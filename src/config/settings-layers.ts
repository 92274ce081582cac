import * as v from 'valibot';
import { listSome } from '../system/text/format.ts';
import { invalidSettings } from './settings-file.ts';

/** Settings of one source, in the vocabulary of sluice.json. */
export interface SettingsLayer {
  /** for messages, such as `Procfile` */
  source: string;
  value: Record<string, unknown>;
}

/** Source of each setting that a layer has, by path: `workers`, `hooks.preSwitch`, `processes.queue` or `env.LOG_LEVEL`. */
export type Origins = Record<string, string>;

export interface MergedLayers {
  value: Record<string, unknown>;
  origins: Origins;
  /** source of the first layer, for faults of settings that no layer has */
  source: string;
}

/** Setting whose parts count one by one. */
interface Parts {
  /** parts that have parts themselves */
  fields?: Record<string, Parts>;
  /** parts of each named value */
  each?: Parts;
  /** field that a value is if it is a text */
  text?: string;
}

/** Settings that are merged by part. All others are taken from one layer as a whole. */
const mergedByPart: Parts = {
  fields: {
    build: {},
    hooks: {},
    health: {},
    warmup: {},
    env: {},
    processes: { each: { text: 'command', fields: { env: {} } } },
  },
};

interface Leaf {
  value: unknown;
  source: string;
}

type Branch = Map<string, Leaf | Branch>;

/** Merges layers, the one with precedence first. A group is merged by field, a map of names by name, a background process by field. */
export function mergeLayers(layers: readonly SettingsLayer[]): MergedLayers {
  const merged: Branch = new Map();
  for (const { value, source } of layers) add(merged, value, source, mergedByPart);
  const [first] = layers;
  return {
    value: writtenIn(merged),
    origins: Object.fromEntries(originsOf(merged, '', mergedByPart)),
    source: first?.source ?? 'sluice.json',
  };
}

/** Adds the settings of a layer that no earlier layer has. */
function add(merged: Branch, value: object, source: string, { fields = {}, each }: Parts): void {
  for (const [name, written] of Object.entries(value)) {
    const parts = Object.hasOwn(fields, name) ? fields[name] : each;
    const existing = merged.get(name);
    const inside = parts && partsIn(written, parts);
    if (parts === undefined || inside === undefined) {
      if (existing === undefined) merged.set(name, { value: written, source });
    } else if (existing === undefined || existing instanceof Map) {
      const branch: Branch = existing ?? new Map();
      merged.set(name, branch);
      add(branch, inside, source, parts);
    }
  }
}

/** Returns the parts of a value; undefined if the value has none. */
function partsIn(value: unknown, { text }: Parts): object | undefined {
  if (isRecord(value)) return value;
  return text !== undefined && typeof value === 'string' ? { [text]: value } : undefined;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function writtenIn(branch: Branch): Record<string, unknown> {
  const entries = [...branch].map(([name, node]): [string, unknown] => [
    name,
    node instanceof Map ? writtenIn(node) : node.value,
  ]);
  return Object.fromEntries(entries);
}

/** Returns the origins of a branch. A named value is one setting if one source has all its parts. */
function originsOf(branch: Branch, prefix: string, { fields = {}, each }: Parts): [string, string][] {
  return [...branch].flatMap(([name, node]): [string, string][] => {
    const path = prefix + name;
    if (!(node instanceof Map)) return [[path, node.source]];
    const inside = originsOf(node, `${path}.`, (Object.hasOwn(fields, name) ? fields[name] : each) ?? {});
    const [first] = inside;
    const isOne = each !== undefined && inside.every(([, source]) => source === first?.[1]);
    return isOne && first !== undefined ? [[path, first[1]]] : inside;
  });
}

/** Settings about the files, which have no effect on a release. */
const ofFiles = new Set(['$schema', 'environments']);

/** Limit of the settings that a description names for each source. */
const maxNamed = 20;

/** Describes the sources of settings for people: `workers from sluice.json; hooks.preSwitch from Procfile`; '' without settings. */
export function describeOrigins(origins: Origins): string {
  return settingsBySource(origins, (path) => path)
    .map(([source, names]) => `${names} from ${source}`)
    .join('; ');
}

/** Returns each source with its settings for people. @param describe returns the text for the path of a setting */
export function settingsBySource(
  origins: Origins,
  describe: (path: string) => string,
): [source: string, settings: string][] {
  const paths = Object.keys(origins).filter((path) => !ofFiles.has(path.split('.', 1)[0] ?? ''));
  const bySource = Map.groupBy(paths, (path) => origins[path] ?? '');
  return [...bySource].map(([source, names]) => [source, listSome(names, maxNamed, describe)]);
}

/**
 * Parses merged layers with a schema.
 * @throws AppError `invalid_settings` that lists every fault under the source of the setting
 */
export function parseLayers<Schema extends v.GenericSchema>(
  schema: Schema,
  { value, origins, source }: MergedLayers,
): v.InferOutput<Schema> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  throw invalidSettings(
    Map.groupBy(result.issues, (issue) => sourceOf(v.getDotPath(issue) ?? '', origins) || source),
  );
}

/** Returns the source of the setting at a path, or the sources of the settings inside; '' if no layer has the setting. */
export function sourceOf(path: string, origins: Origins): string {
  const names = path.split('.');
  for (let length = names.length; length > 0; length--) {
    const setting = names.slice(0, length).join('.');
    if (Object.hasOwn(origins, setting)) return origins[setting] ?? '';
  }
  const inside = Object.keys(origins).filter((name) => name.startsWith(`${path}.`));
  return [...new Set(inside.map((name) => origins[name]))].join(' and ');
}
