"""A mosec service that answers STATUS: one worker process behind its server in Rust, msgpack."""

import sys
from typing import Any

from mosec import Server, Worker
from mosec.mixin import MsgpackMixin

from benchmarks.transport.servers.common import free_port, options, ready
from benchmarks.transport.work import Board


class Service(MsgpackMixin, Worker):
    """Looks a job up; everything else is mosec."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.board = Board()

    def forward(self, data: dict[str, Any]) -> dict[str, Any] | None:
        return self.board.status(data["job"])


if __name__ == "__main__":
    options(__doc__)
    port = free_port()
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(port), "--log-level", "error", "--timeout", "60000"]
    server = Server()  # type: ignore[no-untyped-call]
    server.append_worker(Service, num=1)
    ready(f"127.0.0.1:{port}")  # whoever asks has to wait until the port answers
    server.run()  # type: ignore[no-untyped-call]
