import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Masker } from '../../src/system/mask.ts';

function mask(secrets: string[], text: string): string {
  return new Masker(secrets).mask(text);
}

test('a secret is masked wherever it stands', () => {
  assert.equal(mask(['tr0ub4dor'], 'login tr0ub4dor ok (tr0ub4dor)'), 'login •••••• ok (••••••)');
});

test('a secret is text, not a pattern', () => {
  assert.equal(mask(['a.c+(x)'], 'abcxxx a.c+(x)'), 'abcxxx ••••••');
});

test('of secrets that begin alike the longest goes whole', () => {
  assert.equal(mask(['secret', 'secret-and-more'], 'is secret-and-more'), 'is ••••••');
});

test('every line of a secret with several is masked', () => {
  const key = '-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n';
  assert.equal(mask([key], 'read MIIEvQIBADAN'), 'read ••••••');
});

test('the password in a URL is masked, in the URL and alone, as it is written there and decoded', () => {
  const url = 'postgres://shop:p%40ss-word@db.internal/shop';
  assert.equal(mask([url], `connect ${url}`), 'connect ••••••');
  assert.equal(mask([url], 'password p@ss-word refused'), 'password •••••• refused');
  assert.equal(mask([url], 'connecting to db.internal'), 'connecting to db.internal');
});

test('a secret is masked as it looks in a URL and in JSON', () => {
  assert.equal(mask(['a b/c"d'], '?key=a%20b%2Fc%22d'), '?key=••••••');
  assert.equal(mask(['a b/c"d'], JSON.stringify({ key: 'a b/c"d' })), '{"key":"••••••"}');
});

test('short values, numbers and words of settings are left alone', () => {
  const text = 'production build on port 12345 with level debug: true';
  assert.equal(mask(['production', '12345', 'debug', 'true', '1.5', ''], text), text);
});

test('a long number may be a secret', () => {
  assert.equal(mask(['8371625391'], 'pin 8371625391'), 'pin ••••••');
});
