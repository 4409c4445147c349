"""A LitServe service that answers STATUS: one inference worker, its fast queue (ZeroMQ), JSON."""

from typing import Any

import litserve  # type: ignore[import-untyped, unused-ignore]

from benchmarks.transport.servers.common import free_port, options, ready
from benchmarks.transport.work import Board


class Service(litserve.LitAPI):  # type: ignore[misc] # the package is not typed
    """Looks a job up; everything else is LitServe."""

    def setup(self, device: str) -> None:
        self.board = Board()

    def decode_request(self, request: dict[str, Any]) -> str:
        job: str = request["job"]
        return job

    def predict(self, job: str) -> dict[str, Any] | None:
        return self.board.status(job)

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return output


if __name__ == "__main__":
    options(__doc__)
    port = free_port()
    server = litserve.LitServer(Service(), accelerator="cpu", fast_queue=True, disable_openapi_url=True, timeout=False)
    ready(f"127.0.0.1:{port}")  # whoever asks has to wait until the port answers
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False, access_log=False)
