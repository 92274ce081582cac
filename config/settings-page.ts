import type { Schema } from './generate.ts';

/** Returns docs/settings.md, with a table for the app and one for the server. */
export function settingsPage(app: Schema, server: Schema): string {
  return `# Settings

All settings are optional. If a settings file has faults, such as unknown settings, Sluice rejects the file and lists all
faults at once: each setting with the expected value.

\`npm run generate\` makes this page from the schemas in \`src/config\`.

**Duration**: a number of milliseconds, or text such as \`500ms\`, \`30s\`, \`15m\`, \`1h\`.
**Size**: a number of bytes, or text such as \`512K\`, \`256M\`, \`2G\`.

## Settings of an app

Write these settings to \`sluice.json\` next to package.json, or under \`"sluice"\` in package.json. If both exist, Sluice reads only
\`sluice.json\`. This file may have comments and trailing commas. Settings are part of a release: a rollback restores the settings of
that release. For editors, set \`"$schema"\` to the path of a copy of \`config/app.schema.json\`.

An app may have several sources of settings. For each setting, the first source that has it counts:

1. [\`environments\`](git.md#branches-and-environments) in \`sluice.json\`, for the environment of the deploy
2. \`sluice.json\`
3. a [Procfile](processes.md#procfile)
4. a [file of PM2](pm2-files.md)
5. package.json, and conventions such as file names

Sluice looks up each field of \`build\`, \`hooks\`, \`health\` and \`warmup\`, each variable in \`env\`, and each field of a background process by
itself. All other settings, such as the list \`cron\`, come from one source as a whole. The build log and \`sluice check\` name the
source of each setting:

\`\`\`
settings: workers from sluice.json; hooks.preSwitch, processes.queue from Procfile
\`\`\`

${table(app)}

## Settings of the server

Write these settings to \`$SLUICE_HOME/config.json\`. The server reads this file when it starts.
\`config/example.json\` has every default.

${table(server)}
`;
}

function table(schema: Schema): string {
  const rows = settings(schema).map(([name, setting]) =>
    [`\`${name}\``, kind(setting), fallback(setting), setting.description ?? ''].join(' | '),
  );
  const head = ['Setting | Value | Default | Meaning', '--- | --- | --- | ---'];
  return [...head, ...rows].map((row) => `| ${row} |`).join('\n');
}

/** Returns every setting by its full name, with the settings of groups. */
function settings(schema: Schema, prefix = ''): [string, Schema][] {
  return Object.entries(schema.properties ?? {})
    .filter(([name, { $ref }]) => name !== '$schema' && $ref === undefined)
    .flatMap(([name, setting]) => {
      const { suffix, group } = groupIn(setting);
      const inside = group === undefined ? [] : settings(group, `${prefix}${name}${suffix}.`);
      return group === setting ? inside : [[`${prefix}${name}`, setting] as [string, Schema], ...inside];
    });
}

/** Returns the group in a setting: the setting itself, an alternative, an item of a list, or a named value. */
function groupIn(setting: Schema): { suffix: string; group: Schema | undefined } {
  const { items, additionalProperties: named } = setting;
  if (items !== undefined) return { suffix: '[]', group: groupOf(items) };
  if (typeof named === 'object') return { suffix: '.NAME', group: groupOf(named) };
  return { suffix: '', group: groupOf(setting) };
}

function groupOf(schema: Schema): Schema | undefined {
  return [schema, ...(schema.anyOf ?? [])].find(({ properties }) => properties !== undefined);
}

function kind(schema: Schema): string {
  if (schema.anyOf !== undefined) {
    const patterns = schema.anyOf.map(({ pattern }) => pattern ?? '');
    if (patterns.some((pattern) => pattern.includes('ms|'))) return 'duration';
    if (patterns.some((pattern) => pattern.includes('K|'))) return 'size';
    return [...new Set(schema.anyOf.map(kind))].join(', or ');
  }
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.const !== undefined) return `\`${schema.const}\``;
  switch (schema.type) {
    case 'integer':
      return `${schema.minimum} to ${schema.maximum}`;
    case 'boolean':
      return '`true` or `false`';
    case 'array':
      return schema.items !== undefined && groupOf(schema.items) !== undefined ? 'list of groups' : 'list';
    case 'object':
      return objectKind(schema);
    default:
      return 'text';
  }
}

function objectKind({ properties, additionalProperties: named }: Schema): string {
  if (properties !== undefined) return 'group';
  if (typeof named !== 'object' || groupOf(named) === undefined) return 'names and texts';
  return groupOf(named) === named ? 'names and groups' : 'names, and texts or groups';
}

function fallback({ default: value }: Schema): string {
  if (value === undefined) return '–';
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}
