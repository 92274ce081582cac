import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { canHaveNetwork, movesConnections, testInOwnNetwork } from '../support/network.ts';

const scenarios = fileURLToPath(new URL('kills.ts', import.meta.url));

// The kernel's part in it is off by default, and may be switched on in a network of our own.
if (movesConnections() || !canHaveNetwork()) {
  await import('./kills.ts');
} else {
  test('killed or replaced under load, server and runner lose no request', {
    timeout: 400_000,
  }, async (t) => {
    const { code, output } = await testInOwnNetwork(scenarios);
    for (const line of output.split('\n')) if (/^[✔✖ℹ] .*(?:lost|request)/.test(line)) t.diagnostic(line);
    assert.equal(code, 0, output);
  });
}
