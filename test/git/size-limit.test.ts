import assert from 'node:assert/strict';
import { test } from 'node:test';
import { explainSizeLimit } from '../../src/push/size-limit.ts';

function packet(content: string): string {
  return (content.length + 4).toString(16).padStart(4, '0') + content;
}

const before = packet('unpack') + packet('\u0002remote: counting\n');
const refusal = packet('\u0002fatal: pack exceeds maximum allowed size (1.00 MiB)\n');
const after = `${packet('\u0001unpack index-pack abnormal exit\n')}0000`;

test('the limit of a push follows the message of git, however its output is cut', () => {
  const output = before + refusal + after;
  for (const size of [1, 3, 7, 50, output.length]) {
    const explain = explainSizeLimit(1024 ** 2);
    let result = '';
    for (let at = 0; at < output.length; at += size) {
      result += explain(Buffer.from(output.slice(at, at + size))).toString();
    }
    const added = result.slice((before + refusal).length, -after.length);
    assert.equal(result, before + refusal + added + after);
    assert.equal(Number.parseInt(added.slice(0, 4), 16), Buffer.byteLength(added));
    assert.match(added, /The push is larger than the limit of 1\.0 MiB \("maxUploadBytes" in config\.json/);
  }
});

test('other output of git does not change, with and without packets', () => {
  const message = 'pack exceeds maximum allowed size';
  for (const output of [before + after, packet(`ref ${message}`), `zzzz${message}`, '']) {
    assert.equal(explainSizeLimit(1)(Buffer.from(output)).toString(), output);
  }
});
