// Answers with the pid of the worker, also to an upgrade. /busy uses 3 ms of CPU.
const http = require('node:http');

function burn(microseconds) {
  const start = process.cpuUsage();
  for (;;) {
    const { user, system } = process.cpuUsage(start);
    if (user + system >= microseconds) return;
  }
}

const server = http.createServer((request, response) => {
  if (request.url === '/busy') burn(3000);
  response.setHeader('x-pid', process.pid);
  response.end('hello');
});
server.keepAliveTimeout = 60_000;
server.on('upgrade', (_request, socket) => {
  socket.on('error', () => socket.destroy());
  // A socket that nobody reads does not notice that its client has gone.
  socket.on('end', () => socket.end()).resume();
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nx-pid: ${process.pid}\r\n\r\n`,
  );
});
server.listen(process.env.PORT);
