import assert from 'node:assert/strict';
import { test } from 'node:test';
import { appUserName, findAppUser } from '../../src/config/app-user.ts';
import { environmentName, Paths, parseEnvironmentName } from '../../src/config/paths.ts';
import { AppError } from '../../src/errors/app-error.ts';
import { findUser } from '../../src/system/process/user.ts';

const user = (app: string, environment = 'production') => appUserName('sluice', { app, environment });

test('an app has a user of its own in each environment, named after both', () => {
  assert.equal(user('shop'), 'sluice_shop');
  assert.equal(user('shop', 'staging'), 'sluice_shop_staging');
  assert.notEqual(user('shop-staging'), user('shop', 'staging'));
});

test('no user has a longer name than Linux takes, and what is cut off still tells them apart', () => {
  const long = 'a'.repeat(40);
  const names = [
    user(long),
    user(long, 'staging'),
    user(`${long.slice(1)}b`),
    user('a'.repeat(24), 'b'),
    user('a'.repeat(20), `${'b'.repeat(30)}`),
    user('a'.repeat(20), `${'b'.repeat(31)}`),
  ];
  assert.equal(new Set(names).size, names.length);
  for (const name of names) assert.match(name, /^[a-z][a-z0-9_-]{1,30}$/);
});

test('a shortened name is none that another app could choose for itself', () => {
  const shortened = user('averylongname-that-is-cut', 'deadbeef');
  assert.match(shortened, /__[0-9a-f]{8}$/);
  for (const app of ['a', 'averylongname', 'averylongname-']) {
    for (const environment of ['production', 'staging', 'd'.repeat(8)]) {
      const name = user(app, environment);
      if (name.length <= 31 && !/__[0-9a-f]{8}$/.test(name)) assert.doesNotMatch(name, /__/);
    }
  }
});

const somebody = findUser(({ name }) => /^_[a-z]+$/.test(name));

test('a system user who has the name of an app’s and is somebody else’s is not taken for it', {
  skip: somebody === undefined && 'nobody here has such a name as _apt',
}, () => {
  const target = { app: somebody?.name.slice(1) ?? '', environment: 'production' };
  assert.throws(
    () => findAppUser(new Paths('/home/of/sluice'), { name: '', uid: 1, gid: 1 }, target),
    (error) => error instanceof AppError && error.code === 'user_refused',
  );
});

test('a key names one target, and nothing else is a key', () => {
  for (const target of [
    { app: 'shop', environment: 'production' },
    { app: 'shop', environment: 'staging' },
  ])
    assert.deepEqual(parseEnvironmentName(environmentName(target)), target);
  for (const key of ['', '@', 'shop@', 'shop@production', '../x', 'shop@..', 'shop@a@b', 'Shop', 'shop\n'])
    assert.equal(parseEnvironmentName(key), undefined, key);
});
