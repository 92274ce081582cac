import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { parseEnv } from 'node:util';
import { formatEnvText, parseEnvText, type WrittenVariable } from '../../src/cli/env-text.ts';
import { awkwardValue } from '../support/awkward-value.ts';
import { Random } from '../support/random.ts';

const kinds = [
  { build: false, plain: false },
  { build: true, plain: false },
  { build: false, plain: true },
];
test('values of every kind are read back from the printed text', () => {
  const random = new Random(15);
  for (let round = 0; round < 3000; round += 1) {
    const variables = Array.from({ length: 1 + random.below(4) }, (_, index): WrittenVariable => {
      const value = awkwardValue(random);
      return { name: `NAME_${index}`, value, ...random.pick(kinds) };
    });
    const text = formatEnvText(variables);
    assert.deepEqual(parseEnvText(`${text}\n`), variables, text);
  }
});

test('a shell reads the values that no other quotes can hold', () => {
  const value = 'it\'s "quoted" `here`\r\n\t\u0001\\ $HOME é 👍';
  const text = formatEnvText([{ name: 'VALUE', value, build: false, plain: false }]);
  const script = `${text}\nprintf %s "$VALUE"`;
  assert.equal(spawnSync('bash', ['-c', script], { env: { LC_ALL: 'C.UTF-8' } }).stdout.toString(), value);
});

test('usual values have the forms that every reader of .env files knows', () => {
  const values = [
    '',
    'debug',
    'postgres://u:p@h:5432/db?x=1',
    'two words',
    'a#b',
    'one\ntwo',
    "it's",
    '$HOME',
    'C:\\new',
  ];
  const variables = values.map((value, index) => ({ name: `V${index}`, value, build: false, plain: false }));
  const text = formatEnvText(variables);
  assert.doesNotMatch(text, /=\$'/);
  assert.deepEqual(Object.values(parseEnv(text)), values);
  assert.match(text, /^V0=\nV1=debug\n/);
});

test('a file of another program is read as Node.js reads it', () => {
  const text = `# sluice: nothing of ours
export A = "one\\ntwo" # comment
B='x
Y=$\\'z\\'
'
C=abc#def
D=\`back
tick\`
E="unfinished
F=$'a\\tb'
G=last`;
  const { F, ...others } = Object.fromEntries(parseEnvText(text).map(({ name, value }) => [name, value]));
  const { F: _, ...expected } = parseEnv(text);
  assert.deepEqual(others, expected);
  assert.equal(F, 'a\tb');
});
