import { fileURLToPath } from 'node:url';
import { testWhereConnectionsMove } from '../support/network.ts';

await testWhereConnectionsMove(
  'Server and runner lose no request if they are killed or replaced under load (thorough)',
  fileURLToPath(new URL('kills.ts', import.meta.url)),
  { timeout: 400_000 },
);
