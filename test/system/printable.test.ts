import assert from 'node:assert/strict';
import { test } from 'node:test';
import { printable, printableJson, printableLine } from '../../src/system/text/printable.ts';

const esc = '\u001b';

test('nothing in a line moves the cursor, renames the window or answers', () => {
  for (const [line, shown] of [
    ['plain ä 日本\tx', 'plain ä 日本\tx'],
    [`a${esc}[2J${esc}[Hb`, 'ab'],
    [`${esc}]0;title\u0007x`, 'x'],
    // Taking one out must not put another together.
    [`${esc}${esc}[2J[2Jx`, '\\x1b[2Jx'],
    [`${esc}${esc}[31m[2Jx`, '\\x1b[2Jx'],
    ['\u0000\u0007\u0008\u007f', '\\x00\\x07\\x08\\x7f'],
    ['50%\r100%\r', '100%'],
    ['dos\r', 'dos'],
  ] as const) {
    assert.equal(printableLine(line, false), shown);
  }
  assert.ok(!printable('\u009b2Jx\u009c', false).includes('\u009b'));
});

test('colours are kept where they are shown, and end with the line', () => {
  assert.equal(printable(`${esc}[1;31mred`, true), `${esc}[1;31mred${esc}[0m`);
  assert.equal(printable(`${esc}[1;31mred`, false), 'red');
  assert.equal(printable(`${esc}${esc}[31m[2Jx`, true), `\\x1b${esc}[31m[2Jx${esc}[0m`);
});

test('the lines of a text stay separate, and colours end with the text, before its line end', () => {
  assert.equal(printable(`a\tb\n${esc}]0;x\u0007c\r\n`, false), 'a\tb\nc\\x0d\n');
  assert.equal(printable(`${esc}[31ma\nb\n`, true), `${esc}[31ma\nb${esc}[0m\n`);
});

test('JSON keeps its meaning and has no control characters', () => {
  const value = { text: `a${esc}\u0007\u007f\u009b2J\u0080ä` };
  const json = printableJson(JSON.stringify(value));
  assert.deepEqual(JSON.parse(json), value);
  assert.doesNotMatch(json, /\p{Cc}/u);
});
