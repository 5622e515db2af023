"""A function in Python: a server that greets."""

import contextlib
import os
import signal
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "Hello, World!\n"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open
    wbufsize = -1  # headers and body leave in one packet

    # Any path: a route may lead here with one of its own.
    def do_GET(self):
        # What is left of a body would be taken for the next request.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = GREETING.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if "Transfer-Encoding" in self.headers:
            # A body in chunks is not read, so nothing can follow it.
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *_):
        pass  # a line for every request would take longer than the answer


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # five, the default, are too few for a burst
    daemon_threads = False  # server_close waits for the threads

    def __init__(self, *arguments):
        self.connections = set()
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.connections.discard(request)
        super().shutdown_request(request)

    def end_connections(self):
        """Nothing more is read; requests that have come are answered."""
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)


def main():
    port = int(os.environ.get("PORT") or 8080)
    with Server(("0.0.0.0", port), Handler) as server:

        def stop(*_):
            # shutdown waits for the loop that this thread is in.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        print(f"listening on port {port}", flush=True)
        server.serve_forever()
        server.end_connections()


if __name__ == "__main__":
    main()
