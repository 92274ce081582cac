import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../support/apps.ts';
import { Isolated, idsOf, withoutRoot } from '../support/isolated.ts';
import { Squatter } from '../support/squatter.ts';
import { waitFor } from '../support/wait.ts';

test('no other app can listen on the port of a stopped app, even without runner and server', {
  skip: withoutRoot,
  timeout: 180_000,
}, async (t) => {
  const isolated = await Isolated.start(t);
  const { sluice, owner } = isolated;
  await sluice.deploy('shop', answering('shop'));
  await sluice.deploy('evil', answering('evil'));
  const { port } = await sluice.status('shop');
  const squatter = await Squatter.start(t, port, (await idsOf(`${owner}_evil`)).uid);
  for (const end of ['runner', 'server', 'both']) {
    await sluice.call('POST', '/v1/apps/shop/stop');
    await squatter.rounds(1);
    if (end !== 'server') await isolated.killRunner();
    if (end !== 'runner') await sluice.kill();
    await squatter.rounds(1);
    if (end !== 'server') await isolated.startRunner();
    if (end !== 'runner') await sluice.up({ HOME: sluice.home });
    await waitFor(() => sluice.status('shop').catch(() => undefined), { what: 'the server with its runner' });
    await squatter.rounds(1);
    await sluice.call('POST', '/v1/apps/shop/start');
    assert.equal(await sluice.get('shop'), 'shop');
  }
  assert.deepEqual(squatter.got, []);
  await sluice.call('DELETE', '/v1/apps/shop?confirm=shop');
  await waitFor(() => squatter.got.length > 0, { what: 'the port of an app that is gone' });
});
