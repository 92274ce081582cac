// What PM2 does underneath: the primary accepts and deals connections out.
const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  const workers = [1, 2].map(() => cluster.fork());
  process.on('SIGTERM', () => {
    for (const worker of workers) worker.process.kill();
    process.exit();
  });
} else {
  http.createServer((_request, response) => response.end('hello')).listen(process.env.PORT, '127.0.0.1');
}
