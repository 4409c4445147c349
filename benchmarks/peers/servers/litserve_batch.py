"""LitServe with batching: what has arrived within a moment is one batch, and the next one waits for its end."""

import argparse
from typing import Any

import litserve  # type: ignore[import-untyped, unused-ignore]
from fastapi import Response
from PIL.Image import Image

from benchmarks.deployments.model import Plain, png
from benchmarks.deployments.trace import Request

from . import BATCH, LONGEST_S, PATH, WAIT_S


class Pictures(litserve.LitAPI):  # type: ignore[misc, unused-ignore] # the package is not typed
    """The model; LitServe's own way of writing it down."""

    def setup(self, device: str) -> None:
        self._plain = Plain()
        self._plain.warm_up(BATCH)

    def decode_request(self, request: dict[str, Any], **_: Any) -> Request:
        return Request(**request)

    def batch(self, inputs: list[Request]) -> list[Request]:
        return inputs

    def predict(self, x: list[Request], **_: Any) -> list[Image]:
        return self._plain.make(x)

    def unbatch(self, output: list[Image]) -> list[Image]:
        return output

    def encode_response(self, output: Image, **_: Any) -> Response:
        return Response(png(output), media_type="image/png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    api = Pictures(max_batch_size=BATCH, batch_timeout=WAIT_S, api_path=PATH)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True, timeout=LONGEST_S)
    server.run(host="127.0.0.1", port=parser.parse_args().port, generate_client_file=False, log_level="warning")
