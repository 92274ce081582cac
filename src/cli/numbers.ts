import { UsageError } from './failure.ts';

/** A whole number from the command line. @throws UsageError */
export function wholeNumber(text: string, name: string, minimum = 1): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= minimum) return Number(text);
  throw new UsageError(`${name} is a whole number from ${minimum} up, not "${text}"`);
}
