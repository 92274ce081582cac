import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import {
  describeOrigins,
  mergeLayers,
  parseLayers,
  type SettingsLayer,
} from '../../src/config/settings-layers.ts';

/** Layers by source, the one with precedence first. */
function layersOf(values: Record<string, SettingsLayer['value']>): SettingsLayer[] {
  return Object.entries(values).map(([source, value]) => ({ source, value }));
}

const merged: Record<
  string,
  { layers: Record<string, SettingsLayer['value']>; value: object; origins: Record<string, string> }
> = {
  'a setting is taken from the first layer that has it': {
    layers: { a: { workers: 2 }, b: { workers: 4, port: 80 }, c: { port: 81 } },
    value: { workers: 2, port: 80 },
    origins: { workers: 'a', port: 'b' },
  },
  'groups are merged by field': {
    layers: { a: { hooks: { preBuild: 'x' }, build: {} }, b: { hooks: { preBuild: 'y', preSwitch: 'z' } } },
    value: { hooks: { preBuild: 'x', preSwitch: 'z' }, build: {} },
    origins: { 'hooks.preBuild': 'a', 'hooks.preSwitch': 'b' },
  },
  'variables are merged by name': {
    layers: { a: { env: { LEVEL: 'info' } }, b: { env: { LEVEL: 'debug', constructor: 1 } } },
    value: { env: { LEVEL: 'info', constructor: 1 } },
    origins: { 'env.LEVEL': 'a', 'env.constructor': 'b' },
  },
  'background processes are merged by name and by field': {
    layers: {
      a: { processes: { mail: { count: 2 }, jobs: 'node jobs.js' } },
      b: {
        processes: { mail: 'node mail.js', jobs: { command: 'node old.js', count: 3 }, clock: 'node c.js' },
      },
    },
    value: {
      processes: {
        mail: { count: 2, command: 'node mail.js' },
        jobs: { command: 'node jobs.js', count: 3 },
        clock: { command: 'node c.js' },
      },
    },
    origins: {
      'processes.mail.count': 'a',
      'processes.mail.command': 'b',
      'processes.jobs.command': 'a',
      'processes.jobs.count': 'b',
      'processes.clock': 'b',
    },
  },
  'lists and other objects are one setting': {
    layers: {
      a: { cron: [], health: { headers: { a: '1' } } },
      b: { cron: [{}], health: { headers: { b: '2' } } },
    },
    value: { cron: [], health: { headers: { a: '1' } } },
    origins: { cron: 'a', 'health.headers': 'a' },
  },
  'a group of the wrong type hides the group below': {
    layers: { a: { hooks: 5 }, b: { hooks: { preBuild: 'y' } } },
    value: { hooks: 5 },
    origins: { hooks: 'a' },
  },
};

for (const [promise, { layers, value, origins }] of Object.entries(merged)) {
  test(promise, () => {
    const result = mergeLayers(layersOf(layers));
    assert.deepEqual({ value: result.value, origins: result.origins }, { value, origins });
  });
}

test('origins are described by source', () => {
  const layers = layersOf({
    'sluice.json': { $schema: 'x', workers: 2, environments: {}, processes: { mail: { count: 2 } } },
    Procfile: { hooks: { preSwitch: 'x' }, processes: { mail: 'node mail.js', jobs: 'node jobs.js' } },
  });
  assert.equal(
    describeOrigins(mergeLayers(layers).origins),
    'workers, processes.mail.count from sluice.json; processes.mail.command, processes.jobs, hooks.preSwitch from Procfile',
  );
  assert.equal(describeOrigins({}), '');
});

test('each fault is listed under the source of its setting', () => {
  const layers = layersOf({
    'sluice.json': { workers: 'many', hook: {}, processes: { mail: { count: 100 } } },
    Procfile: { hooks: { preSwitch: '\0' }, processes: { mail: 'node mail.js', jobs: 'a\nb', clock: 'x' } },
  });
  assert.throws(() => parseLayers(appSettingsSchema, mergeLayers(layers)), {
    code: 'invalid_settings',
    message: `sluice.json has 3 faults:
  workers: expected a whole number, "auto" or "max", got "many"
  processes.mail.count: expected a whole number from 0 to 64, got 100
  hook: unknown setting (did you mean "hooks"?)
Procfile has 2 faults:
  hooks.preSwitch: expected a shell command, without NUL characters, got "\0"
  processes.jobs.command: expected a command in one line, such as "node worker.js", got "a\nb"`,
  });
});

test('a fault of a setting with several sources names all of them', () => {
  const many = (prefix: string) =>
    Object.fromEntries(Array.from({ length: 70 }, (_, index) => [`${prefix}${index}`, 'node mail.js']));
  const layers = layersOf({ 'sluice.json': { processes: many('a') }, Procfile: { processes: many('b') } });
  assert.throws(() => parseLayers(appSettingsSchema, mergeLayers(layers)), {
    message: 'sluice.json and Procfile have 1 fault:\n  processes: expected at most 128 processes in total',
  });
});
