import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineSplitter } from '../../src/system/text/lines.ts';

test('lines are whole, however the text is cut', () => {
  const text = 'one\ntwo\r\n\nfour';
  for (let size = 1; size <= text.length; size += 1) {
    const splitter = new LineSplitter({ overwrite: true });
    const lines: string[] = [];
    for (let at = 0; at < text.length; at += size) lines.push(...splitter.push(text.slice(at, at + size)));
    lines.push(...splitter.flush());
    assert.deepEqual(lines, ['one', 'two', '', 'four'], `in pieces of ${size}`);
  }
});

test('text that a progress bar overwrites is left out', () => {
  const splitter = new LineSplitter({ overwrite: true });
  assert.deepEqual(splitter.push('10 %\r50 %\r100 %\ndone\n'), ['100 %', 'done']);
});

test('a line without end is cut rather than kept in memory', () => {
  const splitter = new LineSplitter({ longest: 10 });
  const lines = [...splitter.push('a'.repeat(25)), ...splitter.push('b\n'), ...splitter.flush()];
  assert.deepEqual(lines, ['a'.repeat(10), 'a'.repeat(10), 'aaaaab']);
});

test('no text is left after the last line end', () => {
  const splitter = new LineSplitter();
  splitter.push('whole\n');
  assert.deepEqual(splitter.flush(), []);
});
