'use strict';

// In place of PM2 for tests: the daemon, which has the socket of an app in cluster mode, and the program `pm2`, which it obeys.
const { once } = require('node:events');
const { writeFileSync, chmodSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');

const [home = '', directory = '', port = '', stubborn] = process.argv.slice(2);
const socket = join(home, 'rpc.sock');
/** @type {import('node:http').Server | undefined} */
let server;

const app = () => ({
  name: 'shop',
  pm_id: 0,
  pid: server === undefined ? 0 : process.pid,
  pm2_env: {
    ...{
      name: 'shop',
      pm_exec_path: join(directory, 'server.js'),
      pm_cwd: directory,
      exec_mode: 'cluster_mode',
    },
    ...{
      status: server === undefined ? 'stopped' : 'online',
      env: { PORT: port },
      kill_timeout: 100,
      node_version: process.versions.node,
    },
  },
});

/** @type {Record<string, () => Promise<string>>} */
const commands = {
  jlist: async () => JSON.stringify([app()]),
  async stop() {
    if (stubborn) return 'stopped';
    server?.close();
    server?.closeAllConnections();
    server = undefined;
    return 'stopped';
  },
  async start() {
    if (server !== undefined) return 'runs';
    server = http.createServer((_request, response) => response.end('pm2')).listen(Number(port));
    await once(server, 'listening');
    return 'started';
  },
};

writeFileSync(
  join(home, 'pm2'),
  `#!${process.execPath}
require('node:http').get({ socketPath: ${JSON.stringify(socket)}, path: '/' + process.argv[2] }, (response) => response.pipe(process.stdout));
`,
);
chmodSync(join(home, 'pm2'), 0o755);
http
  .createServer(async (request, response) => response.end(await commands[request.url?.slice(1) ?? '']?.()))
  .listen(socket, async () => {
    await commands['start']?.();
    process.stdout.write('ready\n');
  });
