// Answers with what the function returns, on port 8080.
const main = require(process.cwd() + "/index.js");

const answer = main[process.env.FUNC_NAME];
const server = require("http").createServer((request, response) => response.end(answer(request.url)));
server.listen(Number(process.env.PORT || 8080));
process.on("SIGTERM", () => server.close(() => process.exit()));
