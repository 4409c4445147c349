"""mosec with batching: its Rust front collects a batch, one worker process computes it, and the next one waits."""

import json
import sys

from mosec import Server, Worker

from benchmarks.deployments.model import Plain, png
from benchmarks.deployments.trace import Request

from . import BATCH, LONGEST_S, PATH, WAIT_S


class Pictures(Worker):
    """The model; mosec's own way of writing it down."""

    resp_mime_type = "image/png"

    def __init__(self) -> None:
        self._plain = Plain()
        self._plain.warm_up(BATCH)

    def deserialize(self, data: bytes) -> Request:
        return Request(**json.loads(data))

    def forward(self, data: list[Request]) -> list[bytes]:
        return [png(image) for image in self._plain.make(data)]

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    # mosec reads the command line itself, --port as well
    sys.argv += ["--timeout", str(round(LONGEST_S * 1000)), "--address", "127.0.0.1"]
    server = Server()  # type: ignore[no-untyped-call, unused-ignore]
    server.append_worker(
        Pictures, num=1, max_batch_size=BATCH, max_wait_time=round(WAIT_S * 1000), timeout=round(LONGEST_S), route=PATH
    )
    server.run()  # type: ignore[no-untyped-call, unused-ignore]
