"""`python toy_server.py DATA_DIR PORT [--tokens FILE]`: a real server process whose engine has no model, so that it is
there at once. A task whose prompt has the word hold runs until it is cancelled.
"""

import asyncio
import io
import sys
from pathlib import Path

import uvloop
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "app"))

from toy_engine import STATS, ToyEngine

from pixwire_server import app
from pixwire_server.config import ServerConfig
from pixwire_server.engine import api


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
    return buffer.getvalue()


class ConsoleEngine(ToyEngine):
    """Ends every task at once, but for those that are to be held."""

    def send(self, command: api.Command) -> None:
        if isinstance(command, api.Submit):
            self.hold = "hold" in command.task.prompt
        super().send(command)
        if isinstance(command, api.Cancel):
            asyncio.get_running_loop().call_soon(self._report, api.Cancelled(command.handle, 0, STATS))


def main(data_dir: str, port: str, *options: str) -> int:
    """Serve until a signal."""
    values = {"listen": "127.0.0.1:0", "http": port, "data_dir": data_dir}
    values |= dict(zip((name.removeprefix("--") for name in options[::2]), options[1::2], strict=True))
    config = ServerConfig(**values)  # type: ignore[arg-type]
    engine = ConsoleEngine(image=picture())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(app.serve(config, lambda line: print(line, flush=True), lambda: engine))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
