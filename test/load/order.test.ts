import { fileURLToPath } from 'node:url';
import { testWhereConnectionsMove } from '../support/network.ts';

await testWhereConnectionsMove(
  'the runner is killed at random instants of deploys under load: the order of answers holds',
  fileURLToPath(new URL('order.ts', import.meta.url)),
  { timeout: 115_000 },
);
