/**
 * Measures that keep the server and the runner small. Without the flag, a server and a runner of three apps take 14 MB more. With an
 * import of `node:http`, or if Koa loads undici, they take 4 MB to 7 MB more. The budget of both is 100 MB, and they take about 80 MB (proportional set size).
 */
import { createRequire } from 'node:module';

/** Flags for our own long-running processes: V8 lets its young generation grow to 48 MB otherwise. */
export const smallHeap = ['--max-semi-space-size=1'];

/** Module `node:http`. An import would load all exports of the module, including the WebSocket of undici. */
export const http = process.getBuiltinModule('node:http');

const require = createRequire(import.meta.url);

/**
 * Replaces the class `Response` by one without instances. Koa compares bodies with this class, whose first use loads undici and HTTP/2.
 * Call it only in a process that does not use `fetch`.
 */
export function omitResponse(): void {
  // A change of the property would load them first.
  Reflect.deleteProperty(globalThis, 'Response');
  Object.defineProperty(globalThis, 'Response', { value: class Response {}, configurable: true });
}

/** Loads @koa/router. Its module for `import` imports `node:http`, and its module for `require` does not load these exports. */
export function koaRouter(): typeof import('@koa/router') {
  return require('@koa/router');
}

/** Loads node-cron, at its first use: with the tables of Node.js for languages, node-cron takes 6 MB. */
export function nodeCron(): typeof import('node-cron') {
  return require('node-cron');
}
