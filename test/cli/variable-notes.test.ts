import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isBuiltIn } from '../../src/apps/built-with.ts';
import { cutValues } from '../../src/cli/variable-notes.ts';

test('values that are cut at a # are named, and comments are not', () => {
  const text = `
A=abc#def
export B=https://x.example/#/route
C=abc # a comment
D="quoted#value"
E='quoted#value' # a comment
F=plain
# G=a#b
H=#a comment, as it looks
I = spaced#value
J=abc #comment`;
  assert.deepEqual(cutValues(text), ['A', 'B', 'H', 'I']);
});

test('variables that build tools write into files are known by their names', () => {
  const names = ['VITE_URL', 'NEXT_PUBLIC_API', 'DATABASE_URL', 'MY_VITE_URL', 'REACT_APP_KEY'];
  assert.deepEqual(names.filter(isBuiltIn), ['VITE_URL', 'NEXT_PUBLIC_API', 'REACT_APP_KEY']);
});
