import type { ReleaseSettings } from '../../config/app-directory.ts';
import { isRecord, type Origins, settingsBySource } from '../../config/settings-layers.ts';
import { formatBytes, formatDuration } from '../../system/text/format.ts';

/** Settings that are shown without a value: variables, which may be secret, and commands, which may set variables. */
const withoutValue = /(?:^|\.)(?:env|start|command|hooks|cron)(?:\.|$)/;

/** Units of numbers, by the name of the setting. */
const units: [name: RegExp, format: (value: number) => string][] = [
  [/^(?:maxMemory|memoryLimit)$/, formatBytes],
  [/^(?:timeout|.+(?:Timeout|Time|Uptime|Delay))$/, formatDuration],
];

/** Limit of a text that is shown as a value, in characters. */
const maxText = 80;

/** Returns a row for each source of settings: `maxMemory 300 MiB, env.LOG_LEVEL (ecosystem.config.js)`. */
export function settingsRows(settings: ReleaseSettings, origins: Origins): [name: string, text: string][] {
  return settingsBySource(origins, (path) => withValue(path, settings)).map(([source, text], at) => [
    at === 0 ? 'settings' : '',
    `${text} (${source})`,
  ]);
}

/** Returns the path of a setting with its value, if the value may be shown. */
function withValue(path: string, settings: ReleaseSettings): string {
  const value = withoutValue.test(path) ? undefined : valueAt(path.split('.'), settings);
  const text = value === undefined ? undefined : textOf(value, path.split('.').at(-1) ?? '');
  return text === undefined ? path : `${path} ${text}`;
}

function valueAt([name, ...below]: string[], value: unknown): unknown {
  if (name === undefined) return value;
  return isRecord(value) && Object.hasOwn(value, name) ? valueAt(below, value[name]) : undefined;
}

/** Returns a value as text; undefined for an object, which has too many parts. */
function textOf(value: unknown, name: string): string | undefined {
  if (typeof value === 'number')
    return units.find(([pattern]) => pattern.test(name))?.[1](value) ?? String(value);
  if (typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) {
    const items = value.map((item) => textOf(item, name));
    return items.includes(undefined) ? undefined : `[${items.join(', ')}]`;
  }
  if (typeof value !== 'string' || value.length > maxText) return undefined;
  return /^[\w./@:+*-]+$/.test(value) ? value : JSON.stringify(value);
}
