import { fileURLToPath } from 'node:url';
import { testWhereConnectionsMove } from '../support/network.ts';

/** order.ts allows 30 s for each of its 5 rounds; its start and end come on top. */
const timeout = 5 * 30_000 + 60_000;

await testWhereConnectionsMove(
  'the runner is killed at random instants of deploys under load: the order of answers is kept (thorough)',
  fileURLToPath(new URL('order.ts', import.meta.url)),
  { timeout },
);
