import type { Random } from './random.ts';

/** Pieces of values that mean something to a parser of .env files, a shell or a terminal. */
const pieces = [
  ...[
    'a',
    'Z',
    '0',
    ' ',
    '\t',
    '\n',
    '\r',
    '\r\n',
    '"',
    "'",
    '`',
    '#',
    '$',
    '\\',
    '=',
    '\\n',
    "$'",
    '$X',
    '$(id)',
  ],
  ...[
    'é',
    '👍',
    '漢',
    '👩‍👩‍👧',
    '\u2028',
    '\u200b',
    '\ufeff',
    '\u001b[31m',
    '\u0001',
    '\u007f',
    '\u009b',
    '!',
    '%',
    '&',
  ],
  ...[
    '\nX=1\n',
    "\nexport Y=$'z'\n",
    '\n# sluice: plain\n',
    '# sluice: build-only',
    ' #',
    '-----BEGIN KEY-----\n',
  ],
];

/** Returns a value of a variable, of up to 8 pieces. */
export function awkwardValue(random: Random): string {
  return Array.from({ length: random.below(9) }, () => random.pick(pieces)).join('');
}
