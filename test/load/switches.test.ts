import { test } from 'node:test';
import { switchUnderLoad } from '../support/switching.ts';

test('12 deploys and rollbacks under load lose no request and break no order', async (t) => {
  await switchUnderLoad(t, 12, 32);
});
