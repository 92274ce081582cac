import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ListedVariable } from '../../src/api/routes/apps.ts';
import { differences } from '../../src/cli/variables-view.ts';

const variable = (value: string, processes: string[] | null): ListedVariable => ({
  ...{ name: 'REGION', value, processes, origin: 'sluice env set' },
  ...{ build: false, plain: true, by: null, at: null },
});

test('a comparison has the variables that no process gets', () => {
  const plain = true;
  const different = (...values: (string | null)[]) => ({
    equal: 0,
    different: [{ name: 'REGION', values, plain }],
  });
  assert.deepEqual(differences([variable('eu', [])], [variable('us', [])]), different('eu', 'us'));
  assert.deepEqual(differences([variable('eu', [])], []), different('eu', null));
  assert.deepEqual(differences([variable('eu', [])], [variable('us', null)]), different('eu', 'us'));
  assert.deepEqual(differences([variable('eu', [])], [variable('eu', ['web'])]), { equal: 1, different: [] });
});
