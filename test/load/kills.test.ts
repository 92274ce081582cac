import { fileURLToPath } from 'node:url';
import { testWhereConnectionsMove } from '../support/network.ts';

await testWhereConnectionsMove(
  'killed or replaced under load, server and runner lose no request',
  fileURLToPath(new URL('kills.ts', import.meta.url)),
  { timeout: 400_000 },
);
