import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MaskedText } from '../../src/system/text/mask/mask-stream.ts';
import { Masker } from '../../src/system/text/mask/masker.ts';

const secret = 'pass"word/secret-123';

test('an escaped value is masked at whatever position the text is cut', () => {
  for (const form of [secret, JSON.stringify(secret), encodeURIComponent(secret)]) {
    const text = `before\n${form}\nafter\n`;
    const whole = new Masker([secret]).maskText(text);
    assert.doesNotMatch(whole, /pass|123/);
    for (let cut = 0; cut <= text.length; cut += 1) {
      const masked = new MaskedText(new Masker([secret]));
      const shown = masked.push(text.slice(0, cut)) + masked.push(text.slice(cut)) + masked.end();
      assert.equal(shown, whole, `${form} cut at ${cut}`);
    }
  }
});

test('a line that does not end is shown in parts', () => {
  const masked = new MaskedText(new Masker([secret]));
  assert.equal(masked.push('x'.repeat(1000)), '');
  assert.equal(masked.push('x'.repeat(20_000)), 'x'.repeat(21_000));
});
