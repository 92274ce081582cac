import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { test } from 'node:test';
import { descriptorUsage } from '../../src/system/process/descriptors.ts';

test('open file descriptors are counted', async () => {
  // The first operation may open descriptors of Node.js itself.
  await (await open('/dev/null')).close();
  const before = descriptorUsage().descriptors as number;
  const files = await Promise.all(Array.from({ length: 20 }, () => open('/dev/null')));
  assert.equal(descriptorUsage().descriptors, before + 20);
  await Promise.all(files.map((file) => file.close()));
  assert.equal(descriptorUsage().descriptors, before);
});
