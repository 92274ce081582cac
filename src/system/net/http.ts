/**
 * `node:http`, without what it costs to import it: for an import Node.js reads all that the module exports, among it
 * the WebSocket of undici, which is loaded for that and takes 6 MB of memory for good (measured).
 */
export const http = process.getBuiltinModule('node:http');
