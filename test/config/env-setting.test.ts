import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as v from 'valibot';
import { secretsAmong } from '../../src/config/app/variables.ts';
import { appSettingsSchema } from '../../src/config/app-settings.ts';
import { parseSettings } from '../../src/config/settings-file.ts';

test('variables in the settings are text, numbers, or true or false', () => {
  const { env } = v.parse(appSettingsSchema, {
    env: { LEVEL: 'info', PORT_OF_MAIL: 25, DEBUG: false, EMPTY: '' },
  });
  assert.deepEqual(env, { LEVEL: 'info', PORT_OF_MAIL: '25', DEBUG: 'false', EMPTY: '' });
});

test('faulty variables in the settings are rejected without their values', () => {
  const env = {
    ...{ PORT: 1, NODE_APP_INSTANCE: '2', SLUICE_X: '3', 'A-B': 'secret', LIST: ['secret'] },
    ...{ NUL: 'sec\0ret', LONG: 'x'.repeat(103_000) },
  };
  const name = 'a name of letters, digits and "_", but not one of SLUICE_…, which Sluice sets';
  const faultsIn = (value: object) => {
    try {
      parseSettings(appSettingsSchema, value, 'sluice.json');
    } catch (error) {
      return (error as Error).message.split('\n  ').slice(1);
    }
    return [];
  };
  assert.deepEqual(faultsIn({ env }), [
    `env.SLUICE_X: expected ${name}, got "SLUICE_X"`,
    `env.A-B: expected ${name}, got "A-B"`,
    'env.LIST: expected text, a number, or true or false',
  ]);
  const { SLUICE_X: _, 'A-B': __, LIST: ___, ...named } = env;
  const faults = ['NUL', 'LONG'].map(
    (each) => `env.${each}: the value has a NUL character, or more than 100 KiB`,
  );
  const reserved = ['PORT', 'NODE_APP_INSTANCE'].map((each) => `env.${each}: set by Sluice itself`);
  assert.deepEqual(faultsIn({ env: named }), [...faults, ...reserved]);
  assert.deepEqual(faultsIn({ environments: { staging: { env: { PORT: '1' } } } }), [
    'environments.staging.env.PORT: set by Sluice itself',
  ]);
});

test('values are secret if their names say so, or if they are URLs with a password', () => {
  const secrets = {
    ...{
      DB_PASSWORD: 'a',
      apiKey: 'b',
      SESSION_SECRET: 'c',
      NPM_TOKEN: 'd',
      AWS_CREDENTIALS: 'e',
      DB_PASS: 'f',
    },
    ...{ DATABASE_URL: 'postgres://shop:g@db/shop', REDIS: 'redis://:h@localhost' },
  };
  const others = {
    LEVEL: 'info',
    URL: 'https://x.example/a:b@c',
    PASSENGERS: '4',
    HOST: 'me@host',
    BYPASS: 'no',
  };
  assert.deepEqual(secretsAmong({ ...secrets, ...others }), Object.values(secrets));
});

test('names that an object inherits are reported, in all groups and records', () => {
  const faultsOf = (value: object) => {
    try {
      parseSettings(appSettingsSchema, value, 'sluice.json');
    } catch (error) {
      return (error as Error).message;
    }
    return '';
  };
  for (const name of ['constructor', 'prototype', '__proto__']) {
    const inside = (value: string) => JSON.parse(`{"${name}": ${value}}`) as object;
    const faulty: Record<string, object> = {
      [`processes.${name}`]: { processes: inside('"node c.js"') },
      [`env.${name}`]: { env: inside('"x"') },
      [`processes.queue.env.${name}`]: { processes: { queue: { command: 'node q.js', env: inside('"x"') } } },
      [`branches.${name}`]: { branches: inside('"main"') },
      [`environments.${name}`]: { environments: inside('{"workers": 1}') },
      [`health.headers.${name}`]: { health: { headers: inside('"x"') } },
      [`hooks.${name}`]: { hooks: inside('"x"') },
      [name]: inside('1'),
    };
    for (const [path, value] of Object.entries(faulty))
      assert.match(faultsOf(value), new RegExp(`\\n  ${path}: `), path);
  }
});
