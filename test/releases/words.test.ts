import assert from 'node:assert/strict';
import { test } from 'node:test';
import { expandWord, expandWords, type Word } from '../../src/releases/words.ts';

const env = { PORT: '9001', ARGS: ' -a  -b ', EMPTY: '' };
const port = { variable: 'PORT' };

const cases: [name: string, words: Word[], expected: string[]][] = [
  ['texts stay as they are', ['a b', '', '$PORT'], ['a b', '', '$PORT']],
  ['a variable inside a word', [['--port=', port, '/x']], ['--port=9001/x']],
  [
    'a default for a missing and for an empty variable',
    [[{ variable: 'NONE', default: '80' }], [{ variable: 'EMPTY', default: '81' }]],
    ['80', '81'],
  ],
  ['a variable that is set wins over its default', [[{ ...port, default: '80' }]], ['9001']],
  [
    'a quoted variable is one word, even if it is empty',
    [[{ variable: 'ARGS' }], [{ variable: 'NONE' }]],
    [' -a  -b ', ''],
  ],
  [
    'an unquoted variable is split at spaces, and none is no word',
    [[{ variable: 'ARGS', split: true }], [{ variable: 'NONE', split: true }]],
    ['-a', '-b'],
  ],
  [
    'an unquoted variable inside a word joins its neighbours',
    [['x', { ...port, split: true }, 'y']],
    ['x9001y'],
  ],
];

for (const [name, words, expected] of cases) {
  test(`words of a command: ${name}`, () => assert.deepEqual(expandWords(words, env), expected));
}

test('the value of a variable is one text', () => {
  assert.equal(expandWord(['http://localhost:', { ...port, split: true }], env), 'http://localhost:9001');
  assert.equal(expandWord('a', env), 'a');
});
