/** Returns the probability of at least `count` events if `expected` are expected. */
export function poissonTail(count: number, expected: number): number {
  let below = 0;
  for (let each = 0; each < count; each += 1)
    below += Math.exp(each * Math.log(expected) - expected - logFactorial(each));
  return Math.max(0, 1 - below);
}

/** Returns the probability of at least `count` successes in `total` trials, each with this probability: see tailFrom. */
export function binomialTail(count: number, total: number, probability: number): number {
  return tailFrom(
    count,
    (each) =>
      logChoose(total, each) + each * Math.log(probability) + (total - each) * Math.log1p(-probability),
  );
}

/** Returns the probability that at least `count` of the drawn things are marked (Fisher's exact test): see tailFrom. */
export function hypergeometricTail(
  count: number,
  { drawn, marked, all }: { drawn: number; marked: number; all: number },
): number {
  return tailFrom(
    count,
    (each) => logChoose(marked, each) + logChoose(all - marked, drawn - each) - logChoose(all, drawn),
  );
}

/**
 * Returns an upper bound of the probability of at least `count`, for a distribution whose probabilities fall faster and faster: the
 * sum of the geometric series of the first two. For probabilities below 0.001 the bound is less than a tenth too high. Its cost does
 * not depend on the counts, which an app can choose.
 * @param logOf returns the logarithm of the probability of a number
 */
function tailFrom(count: number, logOf: (each: number) => number): number {
  const first = logOf(count);
  if (first === Number.NEGATIVE_INFINITY) return 0;
  const ratio = Math.exp(logOf(count + 1) - first);
  return ratio >= 1 ? 1 : Math.min(1, Math.exp(first) / (1 - ratio));
}

function logChoose(total: number, count: number): number {
  if (count < 0 || count > total) return Number.NEGATIVE_INFINITY;
  return logFactorial(total) - logFactorial(count) - logFactorial(total - count);
}

/** Returns the logarithm of a factorial, by Stirling's series, to eight digits. */
function logFactorial(number: number): number {
  if (number < 8) {
    let product = 1;
    for (let each = 2; each <= number; each += 1) product *= each;
    return Math.log(product);
  }
  const series = 1 / (12 * number) - 1 / (360 * number ** 3);
  return number * Math.log(number) - number + Math.log(2 * Math.PI * number) / 2 + series;
}
