// The least an app can do: what is measured is what lies around it.
const http = require('node:http');

http.createServer((_request, response) => response.end('hello')).listen(process.env.PORT);
