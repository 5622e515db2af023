"""Answers with what the function returns, on port 8080."""
import http.server
import os
import sys

sys.path.insert(0, os.environ.get("SOURCE", "."))
import main  # noqa: E402

function = getattr(main, os.environ["FUNC_NAME"])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = function(self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
