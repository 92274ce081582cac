// The limit: workers that listen on one inherited socket, with nothing of ours in them.
const { spawn } = require('node:child_process');
const http = require('node:http');
const { BoundSocket } = require('node:net');

if (process.argv[2] === 'worker') {
  http.createServer((_request, response) => response.end('hello')).listen({ fd: 3 });
} else {
  const socket = new BoundSocket({ port: Number(process.env.PORT), host: '127.0.0.1' });
  const stdio = ['ignore', 'inherit', 'inherit', socket.fd()];
  const workers = [1, 2].map(() => spawn(process.execPath, [__filename, 'worker'], { stdio }));
  process.on('SIGTERM', () => {
    for (const worker of workers) worker.kill();
    process.exit();
  });
}
