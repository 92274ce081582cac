import { exists } from '../system/fs/exists.ts';
import { type Check, fault, ok, type Patient } from './check.ts';

/** Whether `sluice up` could start with config.json as it is now: it is read then, and not while it runs. */
export async function checkSettings({ settings, paths }: Patient): Promise<Check> {
  if ('value' in settings) {
    const found = (await exists(paths.settings)) ? 'is in order' : 'is not there: the defaults hold';
    return ok('settings', `${paths.settings} ${found}`);
  }
  const { message, hint } = settings.error;
  return fault('settings', message, `Sluice does not start with it. ${hint}`.trim());
}
