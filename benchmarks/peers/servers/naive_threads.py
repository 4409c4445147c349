"""A thread for each request, all of them on one pipeline: what comes of it when nobody thinks of threads.

It has no better configuration: a diffusers pipeline keeps the state of its sampler in itself, so that calls that
overlap disturb each other. A lock would make it the FastAPI peer.
"""

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from benchmarks.deployments.model import Plain, png
from benchmarks.deployments.trace import Request


class Naive(ThreadingHTTPServer):
    """With the pipeline that its threads share."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, plain: Plain) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.plain = plain


class Handler(BaseHTTPRequestHandler):
    """One connection, in a thread of its own."""

    protocol_version = "HTTP/1.1"
    server: Naive

    def do_POST(self) -> None:
        wanted = Request(**json.loads(self.rfile.read(int(self.headers["content-length"]))))
        try:
            status, body = 200, png(self.server.plain.make([wanted])[0])
        except Exception as error:
            status, body = 500, repr(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: lines on stderr cost time."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    model = Plain()
    model.warm_up()
    Naive(parser.parse_args().port, model).serve_forever()
