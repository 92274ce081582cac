import { fileURLToPath } from 'node:url';
import { testWhereConnectionsMove } from '../support/network.ts';

const rounds = Number(process.env['SLUICE_TEST_ROUNDS'] ?? 200);
const seed = process.env['SLUICE_TEST_SEED'] ?? String(Date.now() % 1e9);

await testWhereConnectionsMove(
  `the runner is killed at random instants of ${rounds} deploys under load: the order of answers holds`,
  fileURLToPath(new URL('../load/order.ts', import.meta.url)),
  { timeout: rounds * 30_000, env: { SLUICE_TEST_ROUNDS: String(rounds), SLUICE_TEST_SEED: seed } },
);
