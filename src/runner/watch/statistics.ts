/** Returns the probability of at least `count` events if `expected` are expected. */
export function poissonTail(count: number, expected: number): number {
  let below = 0;
  for (let each = 0; each < count; each += 1)
    below += Math.exp(each * Math.log(expected) - expected - logFactorial(each));
  return Math.max(0, 1 - below);
}

/** Returns the probability of at least `count` successes in `total` trials, each with this probability. */
export function binomialTail(count: number, total: number, probability: number): number {
  let sum = 0;
  for (let each = count; each <= total; each += 1)
    sum += Math.exp(
      logChoose(total, each) + each * Math.log(probability) + (total - each) * Math.log1p(-probability),
    );
  return Math.min(1, sum);
}

/** Returns the probability that at least `count` of the drawn things are marked (Fisher's exact test). */
export function hypergeometricTail(
  count: number,
  { drawn, marked, all }: { drawn: number; marked: number; all: number },
): number {
  let sum = 0;
  for (let each = count; each <= Math.min(drawn, marked); each += 1)
    sum += Math.exp(logChoose(marked, each) + logChoose(all - marked, drawn - each) - logChoose(all, drawn));
  return Math.min(1, sum);
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
