import { defaultEnvironment, type EnvironmentId, isName } from '../config/paths.ts';
import { UsageError } from './failure.ts';

/** `shop`, `shop@staging`, or `shop` with `--environment staging`. @throws UsageError */
export function parseTarget(text: string, option?: string): EnvironmentId {
  const [app = '', written, ...more] = text.split('@');
  if (written !== undefined && option !== undefined && written !== option) {
    throw new UsageError(`${text} and --environment ${option} name two environments`);
  }
  const environment = written ?? option ?? defaultEnvironment;
  if (!isName(app) || more.length > 0) throw noName(text, 'an app');
  if (!isName(environment)) throw noName(environment, 'an environment');
  return { app, environment };
}

function noName(text: string, what: string): UsageError {
  return new UsageError(
    `"${text}" does not name ${what}`,
    'A name has lower-case letters, digits and "-", and starts with a letter: shop, or shop@staging for an environment of it.',
  );
}

/** Where the API has an app. */
export function appPath({ app }: EnvironmentId, rest: string): string {
  return `/v1/apps/${encodeURIComponent(app)}${rest}`;
}
