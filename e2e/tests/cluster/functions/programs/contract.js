// A functions framework in short: listens where FUNC_CONTEXT says, and tells what it was told.
const http = require('http');

const context = JSON.parse(process.env.FUNC_CONTEXT);
const {POD_NAME, POD_NAMESPACE, GREETING} = process.env;

const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', chunk => body += chunk);
  request.on('end', () => {
    const event = request.headers['ce-type'] && {type: request.headers['ce-type'], data: JSON.parse(body)};
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify({context, event, pod: `${POD_NAMESPACE}/${POD_NAME}`, greeting: GREETING, host: request.headers.host}));
  });
});
server.listen(Number(context.port));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
