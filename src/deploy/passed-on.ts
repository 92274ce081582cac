import type { AppSettings } from '../config/app-settings.ts';
import { sharedMasker } from '../system/text/mask/masker.ts';

/**
 * Returns the values that a release must mask as long as it runs, because its settings contain them: a file of PM2 may pass a secret
 * variable on under another name, and the variable may change later.
 * @param secrets values of secret variables
 */
export function passedOn(settings: AppSettings, secrets: string[]): string[] {
  const texts = textsIn(settings);
  const all = texts.join('\0');
  const isSecret = containsAny(secrets);
  const contained = secrets.filter((secret) => all.includes(secret));
  return [...new Set([...contained, ...texts].filter(isSecret))];
}

/** Returns a check of texts: true for one in which logs mask one of the secrets. */
export function containsAny(secrets: string[]): (text: string) => boolean {
  const masker = sharedMasker(secrets);
  return (text) => masker.maskText(text) !== text;
}

function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(textsIn) : [];
}
