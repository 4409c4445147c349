"""`python -m pixwire_server`, but the images are plain squares; FAKE_BEHAVIOUR in the environment: how to misbehave."""

import asyncio
import io
import os
import signal
import sys
from pathlib import Path

from PIL import Image
from scripted_server import Request, ScriptedServer

from pixwire_protocol.params import parse

COLOURS = {"red": (255, 0, 0), "green": (0, 160, 0), "blue": (0, 0, 255)}


def picture(prompt: str) -> bytes:
    colour = next((rgb for name, rgb in COLOURS.items() if name in prompt), (90, 90, 90))
    file = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(file, "PNG")
    return file.getvalue()


async def answer(server: ScriptedServer) -> None:
    """Holds all requests until six are there (or one, when only one comes), so that they must come together."""
    expected = int(os.environ.get("FAKE_REQUESTS", "6"))
    requests: list[Request] = [await server.requests.get() for _ in range(expected)]
    for request in requests:
        request.accept()
        request.change("running")
    if os.environ.get("FAKE_BEHAVIOUR") == "fail jobs":
        for request in requests:
            error = {"code": 1285, "name": "PIPELINE_ERROR", "message": "out of paint", "retry": "no"}
            request.change("failed", end=True, error=error)
        return
    for request in requests:
        request.succeed([picture(parse(request.message.tail).prompt)])


async def main(behaviour: str) -> int:
    data = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    data.mkdir()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with ScriptedServer() as server:
        print(f"pixwire: listening on {server.url} (model fake, device none)", flush=True)
        answering = asyncio.create_task(answer(server))
        await stopped.wait()
        answering.cancel()
    return 9 if behaviour == "bad end" else 0


if __name__ == "__main__":
    if os.environ.get("FAKE_BEHAVIOUR") == "hang":
        print("loading", file=sys.stderr, flush=True)
        signal.pause()
    how = os.environ.get("FAKE_BEHAVIOUR", "")
    if how == "no start":
        print("the model folder is empty", file=sys.stderr)
        sys.exit(1)
    sys.exit(asyncio.run(main(how)))
