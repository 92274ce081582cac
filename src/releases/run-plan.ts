import { type AppSettings, appSettingsSchema } from '../config/app-settings.ts';
import { parseSettings } from '../config/load.ts';
import type { RunPlan } from './release.ts';

let defaults: AppSettings | undefined;

/** A plan from a version that did not know of all there is today: what it does not say is as it is by default. */
export function completePlan(plan: RunPlan): RunPlan {
  defaults ??= parseSettings(appSettingsSchema, {}, 'no settings');
  return { ...plan, background: plan.background ?? [], settings: { ...defaults, ...plan.settings } };
}
