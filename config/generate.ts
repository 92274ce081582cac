import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { toJsonSchema } from '@valibot/to-json-schema';
import { currentPages } from '../bench/pages.ts';
import { appSettingsSchema } from '../src/config/app-settings.ts';
import { serverSettingsSchema } from '../src/config/server-settings.ts';
import { settingsPage } from './settings-page.ts';

/** The part of a JSON schema that the settings need. */
export interface Schema {
  $ref?: string;
  type?: string;
  description?: string;
  default?: unknown;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  pattern?: string;
  minimum?: number;
  maximum?: number;
}

const root = resolve(import.meta.dirname, '..');

/** Returns the content of each generated file, by path. `npm run generate` writes the files, and a test compares them. */
export function generatedFiles(): Record<string, string> {
  const app = jsonSchema(appSettingsSchema, 'Settings of an app: sluice.json');
  const server = jsonSchema(serverSettingsSchema, 'Settings of the server: $SLUICE_HOME/config.json');
  return {
    'config/app.schema.json': asText(withReferences(app)),
    'config/server.schema.json': asText(server),
    'config/example.json': asText(defaults(server)),
    'docs/settings.md': settingsPage(withReferences(app), server),
    ...currentPages(),
  };
}

/** Returns the committed content of the generated files, by path. */
export function committedFiles(): Record<string, string> {
  const paths = Object.keys(generatedFiles());
  return Object.fromEntries(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

/** Returns the JSON schema of settings as written: a duration is a number or a text. Omits checks that JSON schema does not support. */
function jsonSchema(schema: Parameters<typeof toJsonSchema>[0], title: string): Schema {
  const converted = toJsonSchema(schema, {
    typeMode: 'input',
    errorMode: 'ignore',
    // `group` of src/config/field-types.ts rejects unknown settings by a check.
    overrideSchema: ({ valibotSchema, jsonSchema }) =>
      valibotSchema.type === 'loose_object' ? { ...jsonSchema, additionalProperties: false } : undefined,
  });
  return { title, ...converted } as Schema;
}

/** Replaces the settings of an environment that are those of the app by references to them. */
function withReferences({ properties = {}, ...app }: Schema): Schema {
  const { environments } = properties;
  const named = environments?.additionalProperties;
  if (typeof named !== 'object') return { ...app, properties };
  const own = Object.entries(named.properties ?? {}).map(([name, setting]) =>
    isDeepStrictEqual(setting, properties[name]) ? [name, { $ref: `#/properties/${name}` }] : [name, setting],
  );
  const additionalProperties = { ...named, properties: Object.fromEntries(own) };
  return { ...app, properties: { ...properties, environments: { ...environments, additionalProperties } } };
}

function defaults({ properties = {}, default: value }: Schema): unknown {
  const settings = Object.entries(properties).filter(([name]) => name !== '$schema');
  if (settings.length === 0) return value;
  return Object.fromEntries(settings.map(([name, setting]) => [name, defaults(setting)]));
}

function asText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

if (import.meta.main) {
  for (const [path, content] of Object.entries(generatedFiles())) writeFileSync(join(root, path), content);
}
