import { UsageError } from './failure.ts';

/** A whole number from the command line. @throws UsageError */
export function wholeNumber(text: string, name: string, minimum = 1): number {
  if (isWholeNumber(text, minimum)) return Number(text);
  throw new UsageError(`${name} is a whole number from ${minimum} up, not "${text}"`);
}

export function isWholeNumber(text: string, minimum: number, maximum = 999_999_999): boolean {
  return /^\d{1,9}$/.test(text) && Number(text) >= minimum && Number(text) <= maximum;
}
