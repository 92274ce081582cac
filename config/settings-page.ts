import type { Schema } from './generate.ts';

/** docs/settings.md: a table of each kind of settings. */
export function settingsPage(app: Schema, server: Schema): string {
  return `# Settings

Everything works without any of them. A fault in a file is told with its place and what would be right, all faults at
once; a setting that does not exist is a fault.

This page is made from the schemas in \`src/config\` by \`npm run generate\`.

**Duration**: a number of milliseconds, or text such as \`500ms\`, \`30s\`, \`15m\`, \`1h\`.
**Size**: a number of bytes, or text such as \`512K\`, \`256M\`, \`2G\`.

## Of an app

In \`sluice.json\` beside its package.json, or under \`"sluice"\` in package.json; the file wins as a whole. They are part
of a release: a rollback brings the earlier ones back. For editors, point
\`"$schema"\` at a copy of \`config/app.schema.json\`.

${table(app)}

## Of the appliance

In \`$SLUICE_HOME/config.json\`, read when \`sluice up\` starts. An example with every default: \`config/example.json\`.

${table(server)}
`;
}

function table(schema: Schema): string {
  const rows = settings(schema).map(([name, setting]) =>
    [`\`${name}\``, kind(setting), fallback(setting), setting.description ?? ''].join(' | '),
  );
  const head = ['setting | what it is | default | meaning', '--- | --- | --- | ---'];
  return [...head, ...rows].map((row) => `| ${row} |`).join('\n');
}

/** Every setting by its full name, those of a group one by one. */
function settings(schema: Schema, prefix = ''): [string, Schema][] {
  return Object.entries(schema.properties ?? {})
    .filter(([name]) => name !== '$schema')
    .flatMap(([name, setting]) => {
      const { suffix, group } = groupIn(setting);
      const inside = group === undefined ? [] : settings(group, `${prefix}${name}${suffix}.`);
      return group === setting ? inside : [[`${prefix}${name}`, setting] as [string, Schema], ...inside];
    });
}

/** The group that a setting is, may be, is a list of, or has by names. */
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
  return typeof named === 'object' && groupOf(named) !== undefined
    ? 'names, and texts or groups'
    : 'names and texts';
}

function fallback({ default: value }: Schema): string {
  if (value === undefined) return '–';
  return `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``;
}
