'use strict';

// In place of PM2 for tests: the daemon, which has the socket of an app, and the program `pm2`, which it obeys. A file `faults` in its
// home has words: `stop` and `start` fail then; `forgotten`: no process is listed; `renumbered`: another app has the first id.
// The file `calls` there lists all commands.
const { once } = require('node:events');
const { appendFileSync, existsSync, readFileSync, writeFileSync, chmodSync } = require('node:fs');
const http = require('node:http');
const { join } = require('node:path');

const [home = '', directory = '', port = '', ...traits] = process.argv.slice(2);
const socket = join(home, 'rpc.sock');
const own = traits.find((trait) => trait.startsWith('name='))?.slice('name='.length) ?? 'shop';
/** @type {import('node:http').Server | undefined} */
let server;

const faults = () =>
  existsSync(join(home, 'faults')) ? readFileSync(join(home, 'faults'), 'utf8').trim().split(' ') : [];

const app = (name = own) => ({
  name,
  pm_id: Number(faults().includes('renumbered') && name === own),
  pid: server === undefined ? 0 : process.pid,
  pm2_env: {
    ...{
      name,
      pm_exec_path: join(directory, 'server.js'),
      pm_cwd: directory,
      exec_mode: traits.includes('fork') ? 'fork_mode' : 'cluster_mode',
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
  async jlist() {
    if (faults().includes('forgotten')) return '[]';
    return JSON.stringify(faults().includes('renumbered') ? [app('blog'), app()] : [app()]);
  },
  delete: async () => commands['stop']?.() ?? '',
  async stop() {
    if (traits.includes('stubborn')) return 'stopped';
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
const path = '/' + process.argv.slice(2).join('/');
require('node:http').get({ socketPath: ${JSON.stringify(socket)}, path }, (response) => {
  process.exitCode = response.statusCode === 200 ? 0 : 1;
  response.pipe(process.stdout);
});
`,
);
chmodSync(join(home, 'pm2'), 0o755);
http
  .createServer(async (request, response) => {
    const [command = '', ...ids] = request.url?.slice(1).split('/') ?? [];
    appendFileSync(join(home, 'calls'), `${[command, ...ids].join(' ')}\n`);
    if (faults().includes(command)) response.statusCode = 500;
    const isOurs = ids.length === 0 || ids.includes(String(app().pm_id));
    response.end(response.statusCode === 200 && isOurs ? await commands[command]?.() : command);
  })
  .listen(socket, async () => {
    await commands['start']?.();
    process.stdout.write('ready\n');
  });
