import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { access, glob, readFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { committedFiles, generatedFiles } from '../config/generate.ts';
import { appSettingsSchema } from '../src/config/app-settings.ts';
import { serverSettingsSchema } from '../src/config/server-settings.ts';
import { parseSettings } from '../src/config/settings-file.ts';
import { errorStatus } from '../src/errors/codes.ts';
import { sluiceBinary } from './support/cli.ts';

const root = resolve(import.meta.dirname, '..');
const page = (path: string) => readFile(join(root, path), 'utf8');

test('the schemas, the example and docs/settings.md are what the settings are (npm run generate)', () => {
  assert.deepEqual(committedFiles(), generatedFiles());
});

test('every setting is explained', async () => {
  const rows = (await page('docs/settings.md')).split('\n').filter((line) => line.startsWith('| `'));
  assert.ok(rows.length > 20);
  for (const row of rows) assert.match(row, /\| \S.{10,} \|$/, row);
  assert.ok(!rows.join('\n').includes('undefined'));
});

test('the example of config.json says what holds without it', async () => {
  const example = JSON.parse(await page('config/example.json'));
  const source = 'config/example.json';
  assert.deepEqual(
    parseSettings(serverSettingsSchema, example, source),
    parseSettings(serverSettingsSchema, {}, source),
  );
  assert.ok(parseSettings(appSettingsSchema, {}, 'sluice.json'));
});

test('docs/errors.md has every error with its status, and no other', async () => {
  const rows = (await page('docs/errors.md')).matchAll(/^\| `(\w+)` \| (\d+) \| \S/gm);
  assert.deepEqual(
    Object.fromEntries([...rows].map(([, code, status]) => [code, Number(status)])),
    errorStatus,
  );
});

test('docs/api.md has every call of the API', async () => {
  const api = await page('docs/api.md');
  for await (const file of glob('src/api/routes/*.ts', { cwd: root })) {
    for (const [, method, path] of (await page(file)).matchAll(/router\.(\w+)\(\s*'(\/[^']+)'/g)) {
      assert.match(api, new RegExp(`\`${method?.toUpperCase()} ${path}[?\`]`), `${method} ${path}`);
    }
  }
});

test('the README names commands that there are', async () => {
  const { stdout } = await promisify(execFile)(sluiceBinary, ['--help']);
  const commands = new Set([...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name));
  const named = (await page('README.md')).matchAll(/(?:`|^\$ |\/)sluice ([a-z]+)/gm);
  const unknown = [...named].map(([, name]) => name).filter((name) => !commands.has(name));
  assert.deepEqual(unknown, []);
});

test('the docs name source files that exist', async () => {
  for (const path of await Array.fromAsync(glob(['*.md', 'docs/**/*.md'], { cwd: root }))) {
    const named = (await page(path)).matchAll(/`((?:src|test|config|libexec)\/[\w./-]+)`/g);
    for (const [, file = ''] of named) {
      await access(join(root, file)).catch(() => assert.fail(`${path} names ${file}`));
    }
  }
});

test('the sources name pages of the docs that exist', async () => {
  for (const path of await Array.fromAsync(glob('src/**/*.{ts,cjs}', { cwd: root }))) {
    const lines = (await page(path)).split('\n').filter((line) => !line.includes('git-lfs'));
    for (const [, file = '', heading] of lines.join('\n').matchAll(/(docs\/[\w/-]+\.md)(?:#([\w-]+))?/g)) {
      await access(join(root, file)).catch(() => assert.fail(`${path} names ${file}`));
      if (heading !== undefined)
        assert.ok(headings(await page(file)).includes(heading), `${path} names ${file}#${heading}`);
    }
  }
});

test('each link between pages has a target, with its heading', async () => {
  const pages = await Array.fromAsync(
    glob(['*.md', 'docs/**/*.md', 'examples/*.md', 'hooks/*.md'], { cwd: root }),
  );
  assert.ok(pages.length > 5);
  for (const path of pages) {
    for (const [, link = ''] of (await page(path)).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [file = '', heading] = link.split('#');
      const target = file === '' ? path : join(dirname(path), file);
      await access(join(root, target)).catch(() => assert.fail(`${path} links to ${link}`));
      if (heading !== undefined) {
        assert.ok(headings(await page(target)).includes(heading), `${path} links to ${link}`);
      }
    }
  }
});

/** Returns the anchors of all headings of a page, as GitHub makes them. */
function headings(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}
