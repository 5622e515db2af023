// A function in JavaScript: a server that greets.
"use strict";

const http = require("node:http");

const GREETING = "Hello, World!\n";

const port = Number(process.env.PORT || 8080);

// Any path: a route may lead here with one of its own.
const server = http.createServer((_request, response) => {
  response.writeHead(200, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": Buffer.byteLength(GREETING),
  });
  response.end(GREETING);
});

// The gateway ends idle connections. If the server did, a request on its way could be lost.
server.keepAliveTimeout = 0;

// Requests that have begun are answered.
function stop() {
  server.close();
  server.closeIdleConnections();
}
process.on("SIGTERM", stop);
process.on("SIGINT", stop);

server.listen(port, "0.0.0.0", () => console.log(`listening on port ${port}`));
