import { createServer } from 'node:http';

// Nothing here knows of Sluice: an app listens on PORT, as it would anywhere.
const server = createServer((_request, response) => {
  response.setHeader('Content-Type', 'text/plain; charset=utf-8');
  response.end(`Hello from process ${process.pid}\n`);
});

server.listen(process.env.PORT, () => console.log(`listening on ${process.env.PORT}`));
