import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readManifest } from '../../config/package-manifest.ts';
import { AppError, hasCode } from '../../errors/app-error.ts';
import type { Preview } from './preview.ts';
import { previewRows } from './preview-text.ts';

/** Setting in the file, with a comment above it. */
interface Line {
  comment: string;
  setting: string;
  value: unknown;
  /** false to write the setting as a comment, too */
  active?: boolean;
}

/** Commands that bring the database of an app to its newest version, by the package that has the program. */
const migrations: Record<string, string> = {
  prisma: 'npx prisma migrate deploy',
  knex: 'npx knex migrate:latest',
  'sequelize-cli': 'npx sequelize-cli db:migrate',
  'drizzle-kit': 'npx drizzle-kit migrate',
  '@adonisjs/lucid': 'node ace migration:run --force',
};

/** Names of directories and files that apps usually write to. */
const written = /^(?:uploads?|storage|data|database|db|media|.+\.(?:db|sqlite3?))$/;

/**
 * Writes a sluice.json for what a preview has found. It changes nothing about a deploy: each setting in it has the value that
 * counts without the file, and other useful settings are comments.
 * @returns its absolute path, and its text
 * @throws AppError `invalid_settings` if the app has settings
 */
export async function writeSettings(found: Preview): Promise<{ path: string; text: string }> {
  const directory = join(found.directory, found.root, found.settings.directory);
  const path = join(directory, 'sluice.json');
  const text = settingsText(await linesOf(directory, found));
  try {
    await writeFile(path, text, { flag: 'wx' });
  } catch (error) {
    if (!hasCode(error, 'EEXIST')) throw error;
    throw new AppError('invalid_settings', `${path} exists already`, {
      hint: 'Show what a deploy does with it: `sluice check`.',
    });
  }
  return { path, text };
}

async function linesOf(directory: string, found: Preview): Promise<Line[]> {
  const { node, start, workers, settings } = found;
  const { path, status } = settings.health;
  const rows = new Map(previewRows(found));
  const manifest = await readManifest(directory);
  const packages = { ...manifest?.dependencies, ...manifest?.devDependencies };
  const [, migration = 'npx prisma migrate deploy'] =
    Object.entries(migrations).find(([name]) => Object.hasOwn(packages, name)) ?? [];
  const data = (await readdir(directory)).filter((name) => written.test(name));
  return [
    {
      comment: `Command that starts the app. Without this setting: the app ${start}.`,
      ...{ setting: 'start', value: 'node server.js', active: false },
    },
    {
      comment: `Version of Node.js. Without this setting: ${node.version} (${node.reason}).`,
      ...{ setting: 'node', value: node.version.split('.')[0], active: false },
    },
    {
      comment: `Number of worker processes. Now: ${workers.reason ?? rows.get('workers')}`,
      ...{ setting: 'workers', value: settings.workers },
    },
    {
      comment:
        'Request that a new worker must answer before it gets traffic, and the statuses of a healthy worker.',
      ...{ setting: 'health', value: { path, status } },
    },
    {
      comment:
        'Shell command that runs once before a new release starts, such as a migration of the database.',
      ...{ setting: 'hooks', value: { preSwitch: migration }, active: false },
    },
    {
      comment:
        'Paths that all releases share, such as uploads and SQLite files. A deploy replaces all other files.',
      ...{ setting: 'shared', value: data.length > 0 ? data : ['uploads'], active: false },
    },
    {
      comment: 'Past live releases to keep for a rollback.',
      ...{ setting: 'keepReleases', value: settings.keepReleases },
    },
  ];
}

function settingsText(lines: Line[]): string {
  const blocks = lines.map(({ comment, setting, value, active = true }) => {
    const text = `"${setting}": ${inOneLine(value)},`;
    return [`// ${comment}`, active ? text : `// ${text}`].map((line) => `  ${line}`).join('\n');
  });
  const head = '  // Settings of this app in Sluice: docs/settings.md lists all of them. Each has a default.';
  return `{\n${[head, ...blocks].join('\n\n')}\n}\n`;
}

/** `{"path":"/"}` → `{"path": "/"}` */
function inOneLine(value: unknown): string {
  return JSON.stringify(value, null, 1)
    .replaceAll(/\n\s*/g, ' ')
    .replaceAll(/(?<=[[{]) | (?=[\]}])/g, '');
}
