"""Plain diffusers behind FastAPI: one pipeline, one lock, the computing in a thread so that the loop stays free.

Who has left before his turn is passed over; what is being computed is computed to its end.
"""

import argparse
import asyncio
from typing import Any

import fastapi
import uvicorn

from benchmarks.deployments.model import Plain, png
from benchmarks.deployments.trace import Request

from . import PATH

GONE = 499


def make_app(plain: Plain) -> fastapi.FastAPI:
    app, lock = fastapi.FastAPI(), asyncio.Lock()

    @app.post(PATH)
    async def generate(wanted: dict[str, Any], http: fastapi.Request) -> fastapi.Response:
        async with lock:
            if await http.is_disconnected():
                return fastapi.Response(status_code=GONE)
            (image,) = await asyncio.to_thread(plain.make, [Request(**wanted)])
        return fastapi.Response(png(image), media_type="image/png")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    model = Plain()
    model.warm_up()
    uvicorn.run(make_app(model), port=parser.parse_args().port, log_level="warning", loop="uvloop", http="httptools")
