import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { test } from 'node:test';
import { isLoopback } from '../../src/system/net/address.ts';
import { answering } from '../support/apps.ts';
import { cli } from '../support/cli.ts';
import { Checkout } from '../support/git.ts';
import { startSluice } from '../support/server.ts';

/** Address by which other machines reach this one; requests to it count as requests from another machine. */
const outside = Object.values(networkInterfaces())
  .flat()
  .find((each) => each?.family === 'IPv4' && !each.internal)?.address;
const skip = outside === undefined && 'this machine has only loopback addresses';

test('a command that sends a token to an http:// URL of another machine warns once, with a hint', async () => {
  const call = (url: string) => cli(['apps', '--json'], { env: { SLUICE_URL: url, SLUICE_TOKEN: 'slc_x' } });
  // Nobody answers at any of these: the warning comes before the token is sent.
  const warned = await call('http://host.invalid:8700');
  assert.match(
    warned.stderr,
    /^warning: the token travels unencrypted to http:\/\/host\.invalid:8700\n {2}.*https:\/\/.*ssh -L/,
  );
  assert.equal(warned.stderr.split('\n').length, 3);
  for (const url of ['http://127.0.0.1:1', 'http://localhost:1', 'http://[::1]:1', 'https://host.invalid']) {
    assert.equal((await call(url)).stderr, '', url);
  }
});

test('a push with a token over http warns if it comes from another machine', {
  skip,
}, async (t) => {
  const sluice = await startSluice(t, { settings: { listen: { host: '0.0.0.0', port: 0 } } });
  const checkout = await Checkout.create(t);
  await checkout.commit('One', answering('one'));
  const url = sluice.gitUrl('shop');
  const near = await checkout.try('push', url.replace('0.0.0.0', '127.0.0.1'), 'main');
  assert.equal(near.code, 0, near.output);
  assert.doesNotMatch(near.output, /unencrypted/);
  await checkout.commit('Two', answering('two'));
  const far = await checkout.try('push', url.replace('0.0.0.0', outside ?? ''), 'main');
  assert.equal(far.code, 0, far.output);
  assert.match(
    far.output,
    /^warning: Your token came unencrypted, over http.*\n {2}Push over ssh or to an https/m,
  );
  assert.equal(await sluice.get('shop'), 'two');
});

test('a server that other machines reach without TLS warns at its start, and doctor does', async (t) => {
  const sluice = await startSluice(t, { settings: { listen: { host: '0.0.0.0', port: 0 } } });
  const lines = (await sluice.log()).filter(({ level }) => level === 'warn').map(({ msg }) => msg);
  assert.deepEqual(lines, ['API reachable without TLS: tokens travel unencrypted']);
  const { stdout } = await cli(['doctor'], { env: { SLUICE_HOME: sluice.home } });
  assert.match(stdout, /^warning +api +listens on 0\.0\.0\.0 without TLS: tokens travel unencrypted\n/m);
  const quiet = await startSluice(t);
  assert.deepEqual(
    (await quiet.log()).filter(({ level }) => level === 'warn'),
    [],
  );
});

test('names and addresses of loopback are recognized', () => {
  for (const host of [
    '127.0.0.1',
    '127.8.9.1',
    '::1',
    '[::1]',
    '::ffff:127.0.0.1',
    'localhost',
    'a.localhost',
    'LOCALHOST.',
  ])
    assert.ok(isLoopback(host), host);
  for (const host of [
    '0.0.0.0',
    '::',
    '10.0.0.1',
    'example.com',
    '127.0.0.1.example.com',
    'notlocalhost',
    '::ffff:10.0.0.1',
  ])
    assert.ok(!isLoopback(host), host);
});
