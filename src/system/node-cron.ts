import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/**
 * node-cron, loaded when there is need of it: it takes 12 ms and, with what it makes Node.js read of its tables of
 * languages as soon as something is scheduled, 8 MB.
 */
export function nodeCron(): typeof import('node-cron') {
  return require('node-cron');
}
