/**
 * Measures that keep the server and the runner small. Without the flag, a server and a runner of three apps take 14 MB more. With an
 * import of `node:http`, they take 7 MB more. The budget of both is 100 MB, and they take about 90 MB (proportional set size).
 */
import { createRequire } from 'node:module';

/** Flags for our own long-running processes: V8 lets its young generation grow to 48 MB otherwise. */
export const smallHeap = ['--max-semi-space-size=1'];

/** Module `node:http`. An import would load all exports of the module, including the WebSocket of undici. */
export const http = process.getBuiltinModule('node:http');

const require = createRequire(import.meta.url);

/** Loads node-cron, at its first use: with the tables of Node.js for languages, node-cron takes 6 MB. */
export function nodeCron(): typeof import('node-cron') {
  return require('node-cron');
}
