import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { parseSettings } from '../../src/config/load.ts';

test('all settings that do not exist are told at once, beside all other faults, with the one that was meant where that is plain', () => {
  const settings = { worker: 2, healthCheck: {}, shape: 'round', health: { paths: '/' }, keepReleases: 1 };
  assert.throws(() => parseSettings(appSettingsSchema, settings, 'sluice.json'), {
    code: 'invalid_settings',
    message: `sluice.json has 5 faults:
  keepReleases: a whole number from 2 to 1000, not 1
  worker: there is no such setting (did you mean "workers"?)
  healthCheck: there is no such setting (did you mean "health"?)
  shape: there is no such setting
  health.paths: there is no such setting (did you mean "path"?)`,
  });
});

test('what is no object is told as that', () => {
  assert.throws(() => parseSettings(appSettingsSchema, { build: 5 }, 'sluice.json'), {
    message: 'sluice.json has 1 fault:\n  build: Object, not 5',
  });
  assert.throws(() => parseSettings(appSettingsSchema, 'x', 'sluice.json'), {
    message: /the whole: Object, not "x"$/,
  });
});
