import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Masker, sharedMasker } from '../../src/system/text/mask/masker.ts';

function mask(secrets: string[], text: string): string {
  return new Masker(secrets).maskText(text);
}

test('a secret is masked anywhere in a line', () => {
  assert.equal(mask(['tr0ub4dor'], 'login tr0ub4dor ok (tr0ub4dor)'), 'login •••••• ok (••••••)');
});

test('a secret is text, not a pattern', () => {
  assert.equal(mask(['a.c+(x)'], 'abcxxx a.c+(x)'), 'abcxxx ••••••');
});

test('the longest of several secrets that begin alike is masked as a whole', () => {
  assert.equal(mask(['secret', 'secret-and-more'], 'is secret-and-more'), 'is ••••••');
});

test('every line of a secret with several is masked', () => {
  const key = '-----BEGIN KEY-----\nMIIEvQIBADAN\n-----END KEY-----\n';
  assert.equal(mask([key], 'read MIIEvQIBADAN'), 'read ••••••');
});

test('the password of a URL is masked, in the URL and alone, encoded and decoded', () => {
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

test('the base64 of a secret is masked at any position in the encoded text, and in both alphabets', () => {
  const secret = 'k>?~größe/+9';
  for (const before of ['', 'u', 'us', 'user:']) {
    for (const after of ['', '!', '!!', '!!!']) {
      for (const encoding of ['base64', 'base64url'] as const) {
        const text = Buffer.from(before + secret + after).toString(encoding);
        const masked = mask([secret], `Basic ${text} ok`);
        assert.match(masked, /^Basic .*•••••• ?.* ok$/);
        // The rest decodes to the text around the secret: a character on either side may belong to both.
        const left = masked.replaceAll(/Basic | ok|[=\s]/g, '').split('••••••');
        assert.ok(
          left.every((part) => part.length <= Math.ceil((Math.max(before.length, after.length) * 4) / 3)),
        );
        assert.ok(!masked.includes(text.slice(8, 14)), `${text}: ${masked}`);
      }
    }
  }
});

test('a secret in hexadecimal digits is masked in both cases, even with spaces between the bytes', () => {
  const hex = Buffer.from('tr0ub4dor').toString('hex');
  assert.equal(mask(['tr0ub4dor'], `<${hex}> <${hex.toUpperCase()}>`), '<••••••> <••••••>');
  assert.equal(mask(['tr0ub4dor'], inspect(Buffer.from('tr0ub4dor'))), '<Buffer ••••••>');
});

test('a secret is masked with all escapes: in JSON in JSON, in a URL, in a form, and as Node.js shows text', () => {
  const secret = `it's "größer" than\\100% & 😀`;
  const inJson = JSON.stringify(secret);
  const ascii = inJson.replaceAll(/[^ -~]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const inUrl = encodeURIComponent(secret);
  const spellings = [inJson, ascii, JSON.stringify(inJson), inUrl, inUrl.toLowerCase(), encodeURI(secret)];
  spellings.push(String(new URLSearchParams({ a: secret })), encodeURIComponent(inJson), inspect(secret));
  for (const spelling of spellings) {
    const masked = mask([secret], `before ${spelling} after`);
    assert.match(masked, /^before \S{0,5}••••••\S{0,5} after$/, spelling);
  }
});

test('a secret with the sign of an escape in it, or behind such a sign, is masked with all other escapes', () => {
  const cases: [secret: string, text: string][] = [
    ['pa"ss%C6word1', JSON.stringify({ a: 'pa"ss%C6word1' })],
    ['x"100%ab pass', JSON.stringify(JSON.stringify({ a: 'x"100%ab pass' }))],
    ['pa"ss%C6word1', encodeURIComponent(JSON.stringify({ a: 'pa"ss%C6word1' }))],
    ['corp\\user pass12', new URL('http://host/?a=corp\\user pass12').search],
    ['robert pass/9Q!x', `CORP\\${encodeURIComponent('robert pass/9Q!x')}`],
    ['0t so/secret"x', `a\\n${encodeURIComponent('0t so/secret"x')}`],
    ['a\\ut2%f122rb\\xa', JSON.stringify(JSON.stringify('a\\ut2%f122rb\\xa'))],
    ['41bc"secret1', `%${JSON.stringify('41bc"secret1').slice(1, -1)}`],
  ];
  for (const [secret, text] of cases) {
    const masked = mask([secret], text);
    assert.ok(masked.includes('••••••') && !/ss|secret|user/.test(masked), `${text}: ${masked}`);
  }
});

test('a secret behind what looks like the beginning of an escape is masked as a whole', () => {
  const signs = '\\ \\u \\u0 \\u00 \\u00e \\x \\x4 \\% \\\\ % %4 %5C a%20b\\'.split(' ');
  const secrets =
    'backup fab123 e9abcdef 4e2dxyz u4e2dab 33abcdef p%41cdefgh /backup xyz\\nabc r\\ncdefgh'.split(' ');
  for (const secret of [...secrets, 'n0 / here']) {
    const masker = new Masker([secret]);
    const inUrl = encodeURIComponent(secret);
    for (const spelling of [secret, inUrl, encodeURIComponent(inUrl)]) {
      // The search looks at every second character, so each text is also tried one character later.
      for (const before of signs.flatMap((sign) => [sign, ` ${sign}`])) {
        const masked = masker.maskText(`${before}${spelling} end`);
        const [shown = '', end] = masked.split('••••••');
        assert.ok(before.startsWith(shown) && end === ' end', `${before}${spelling}: ${masked}`);
      }
    }
  }
});

test('a secret that is broken over lines, or indented, is masked in each line', () => {
  const secret = '0123456789abcdefghijklmnopqrstuv';
  const text = 'key:\n  0123456\n  789abcdefghi\r\n  jklmnopqrstuv\nend';
  assert.equal(mask([secret], text), 'key:\n  ••••••\n••••••\n••••••\nend');
  const wrapped = Buffer.from(secret).toString('base64').replaceAll(/.{10}/g, '$&\n');
  assert.doesNotMatch(mask([secret], wrapped), /[^•\n=]/);
});

test('each piece of a long secret is masked: of 48 characters, or 96 in its encoded forms', () => {
  const secret = randomText(5000, 1);
  const bytes = Buffer.from(secret);
  const forms = [secret, bytes.toString('base64'), bytes.toString('hex')];
  const masker = new Masker([secret]);
  for (const form of forms) {
    const length = form === secret ? 48 : 96;
    for (let from = 3; from + length < form.length; from += 97) {
      assert.equal(masker.mask(` ${form.slice(from, from + length)} `), ` ${bullets} `);
    }
  }
});

test('a piece of a long secret is masked even if its first symbols look like an escape', () => {
  const secret = Array.from({ length: 60 }, (_, index) => `u4e2d${randomText(70 + index, index)}`).join('');
  const masker = new Masker([secret]);
  for (const { index } of secret.matchAll(/u4e2d/g)) {
    assert.equal(masker.mask(`\\${secret.slice(index, index + 48)} `), `\\${bullets} `);
  }
});

/** The largest possible set of secrets: one with one long line, one with 10,000 lines, and 1,000 that begin alike. */
function manySecrets(): string[] {
  const values = Array.from(
    { length: 1000 },
    (_, index) => `https://api.example.com/${randomText(16, index)}`,
  );
  const lines = Array.from({ length: 10_000 }, (_, index) => randomText(12, 10_000 + index));
  return [...values, randomText(127 * 1024, 1), lines.join('\n')];
}

test('1,000 secrets are all masked, including one with a line of 128 KiB and one with 10,000 lines', () => {
  const secrets = manySecrets();
  const masker = new Masker(secrets);
  for (const secret of secrets) {
    const lines = secret.split('\n').length;
    assert.equal(masker.mask(secret), Array(lines).fill(bullets).join('\n'));
    assert.equal(masker.mask(`a ${Buffer.from(secret).toString('hex')} b`), `a ${bullets} b`);
    const [before, text, after] = masker.mask(`[ ${Buffer.from(secret).toString('base64')} ]`).split(' ');
    assert.deepEqual([before, text, after], ['[', bullets, ']']);
  }
  for (const line of (secrets.at(-1) as string).split('\n')) {
    assert.equal(masker.mask(`1 ${line} 2`), `1 ${bullets} 2`);
  }
  const other = Array.from({ length: 1000 }, (_, index) => `line ${index} of what is no secret`).join('\n');
  assert.equal(masker.mask(other), other);
});

test('text that would take too long to search is masked as a whole', () => {
  const secrets = Array.from({ length: 4096 }, (_, index) => index.toString(2).padStart(12, '0'));
  const masker = new Masker([
    ...secrets.map((bits) => bits.replaceAll('0', 'a').replaceAll('1', 'b')),
    'a'.repeat(100_000),
  ]);
  const text = `${'a'.repeat(47)}b${'ab'.repeat(20_000)}`;
  const start = process.cpuUsage();
  for (let times = 0; times < 10; times += 1) assert.ok(masker.mask(text).includes(bullets));
  const { user, system } = process.cpuUsage(start);
  assert.ok(user + system < 2_000_000, `${(user + system) / 1000} ms`);
});

test('the beginning of a secret is masked although the search ends within the secret', () => {
  const start = 'https://hooks.example.com/services/T0';
  const ending = (index: number) => String.fromCharCode(0x100 + index);
  const secrets = Array.from({ length: 63 }, (_, index) => `${start}/B0${ending(index)}`);
  const alike = Array.from({ length: 63 }, (_, index) => `${start.slice(0, -1)}1${ending(index)}`);
  const masker = new Masker([...secrets, ...alike]);
  for (const secret of secrets) {
    for (let lines = 0; lines < 10; lines += 1) {
      const text = `${start}/B0${ending(63)}\n`.repeat(lines) + secret;
      assert.match(masker.maskText(text), /(?:^|\n)••••••$/, `${lines} lines before ${secret}`);
    }
  }
});

test('text without secrets does not change, whatever bytes it has', () => {
  const masker = new Masker(['tr0ub4dor']);
  const bytes = Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 7919) % 256)).toString(
    'latin1',
  );
  assert.equal(masker.mask(bytes), bytes);
  const text = 'lone \ud800 surrogate, %, %zz, \\, \\u12, 100% +5 \\';
  assert.equal(masker.maskText(text), text);
});

const bullets = Buffer.from('••••••').toString('latin1');

/** Returns text without spaces; the same seed gives the same text. */
function randomText(length: number, seed: number): string {
  const random = createHash('shake256', { outputLength: length }).update(String(seed)).digest();
  return Buffer.from(random.map((byte) => letters.charCodeAt(byte % letters.length))).toString('latin1');
}

const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_.-';

test('lists with the same secrets share one masker', () => {
  const masker = sharedMasker(['tr0ub4dor', 'a,"b"cd']);
  assert.equal(sharedMasker(['tr0ub4dor', 'a,"b"cd']), masker);
  assert.equal(sharedMasker(['tr0ub4dor', 'a,', 'b"cd']).maskText('login tr0ub4dor'), 'login ••••••');
  assert.notEqual(sharedMasker(['tr0ub4dor', 'a,', 'b"cd']), masker);
});
