const { createServer } = require('node:http');
const { Server } = require('socket.io');

const release = () => `release ${process.env.SLUICE_RELEASE}.`;
const server = createServer((_request, response) => response.end(release()));
const io = new Server(server);
io.on('connection', (socket) => {
  socket.on('release', (answer) => answer(release()));
});
server.listen(process.env.PORT);
