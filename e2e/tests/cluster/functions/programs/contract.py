# A functions framework in short: listens where FUNC_CONTEXT says, and tells what it was told.
import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

context = json.loads(os.environ["FUNC_CONTEXT"])


class Function(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind = self.headers.get("ce-type")
        answer = json.dumps({
            "context": context,
            "event": {"type": kind, "data": json.loads(body)} if kind else None,
            "pod": "{POD_NAMESPACE}/{POD_NAME}".format(**os.environ),
            "greeting": os.environ.get("GREETING"),
            "host": self.headers["Host"],
        }).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
ThreadingHTTPServer(("", int(context["port"])), Function).serve_forever()
