import assert from 'node:assert/strict';
import { test } from 'node:test';
import { selectMembers } from '../../../src/build/start-command/select-members.ts';
import { emptyManifest } from '../../../src/config/package-manifest.ts';

const members = [
  ['apps/web', '@acme/web'],
  ['apps/api', 'api'],
  ['apps/site', '@acme/api'],
  ['packages/ui', '@acme/ui'],
].map(([directory = '', name = '']) => ({ directory, name, manifest: emptyManifest }));

const cases: [selector: string, selected: string[], at?: string][] = [
  ['api', ['apps/api']],
  ['@acme/api', ['apps/site']],
  ['web', ['apps/web']],
  ['site', ['apps/site']],
  ['web...', ['apps/web']],
  ['...^web', ['apps/web']],
  ['web^...', ['apps/web']],
  ['web[origin/main]', ['apps/web']],
  ['./apps/web', ['apps/web']],
  ['apps/web/', ['apps/web']],
  ['{apps/web}', ['apps/web']],
  ['{./apps/web}...', ['apps/web']],
  ['./apps/*', ['apps/web', 'apps/api', 'apps/site']],
  ['./packages', ['packages/ui']],
  ['../web', ['apps/web'], 'apps/api'],
  ['@acme/*', ['apps/web', 'apps/site', 'packages/ui']],
  ['*', ['apps/api']],
  ['missing', []],
  ['!web', []],
  ['../../etc', []],
  ['', []],
];

for (const [selector, selected, at] of cases) {
  test(`the selector "${selector}" names ${selected.join(', ') || 'no member'}`, () => {
    assert.deepEqual(
      selectMembers(members, selector, at).map(({ directory }) => directory),
      selected,
    );
  });
}
