import assert from 'node:assert/strict';
import { test } from 'node:test';
import { binomialTail, hypergeometricTail } from '../../src/runner/watch/statistics.ts';

/** Sums the probabilities of a tail, by products of whole numbers. */
function exact(count: number, total: number, probability: number): number {
  let sum = 0;
  for (let each = count; each <= total; each += 1) {
    let term = 1;
    for (let at = 1; at <= each; at += 1) term *= ((total - each + at) / at) * probability;
    sum += term * (1 - probability) ** (total - each);
  }
  return sum;
}

test('a small tail is at most a tenth above the sum of its probabilities, and never below', () => {
  for (const [count, total] of [
    [14, 40],
    [35, 150],
    [12, 20],
    [95, 500],
  ] as const) {
    const sum = exact(count, total, 0.1);
    assert.ok(sum < 1e-3, `${sum}`);
    const bound = binomialTail(count, total, 0.1);
    assert.ok(bound >= sum * (1 - 1e-6) && bound <= sum * 1.1, `${count} of ${total}: ${bound}, ${sum}`);
    // So many things that a draw hardly changes them.
    const drawn = hypergeometricTail(count, { drawn: total, marked: 1e8, all: 1e9 });
    assert.ok(Math.abs(drawn / bound - 1) < 0.01, `${drawn}, ${bound}`);
  }
});

test('counts that no app reaches cost no time', () => {
  const start = performance.now();
  assert.equal(hypergeometricTail(3e11, { drawn: 6e11, marked: 3e11, all: 7e11 }), 0);
  assert.equal(binomialTail(3e11, 6e11, 0.1), 0);
  assert.equal(binomialTail(10, 6e11, 0.1), 1);
  assert.ok(performance.now() - start < 1000);
});
