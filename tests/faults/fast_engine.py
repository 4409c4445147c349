"""An engine process without a model, for tests that kill it by the hundred: `python fast_engine.py FD CONFIG`.

To the server it is the real one (the same messages over the same socket pair), but its images are hashes of the request
and its steps take `PIXWIRE_TEST_STEP_S` seconds. `PIXWIRE_TEST_MODEL` is the name of its model. It stops at the gate at
every stage. A request whose prompt begins with "poison" kills it in its second step.
"""

import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from fast_image import paint
from gate import reach

from pixwire_server.engine import api
from pixwire_server.engine.link import Decoder, encode

CARD = api.ModelCard(
    name=os.environ.get("PIXWIRE_TEST_MODEL", "fast/model"),
    pipeline_class="FastPipeline",
    default_steps=4,
    default_guidance_scale=1.0,
    default_width=64,
    default_height=64,
    size_multiple=8,
    max_width=512,
    max_height=512,
    max_steps=10_000,
    max_count=4,
    device="cpu",
    dtype="float32",
    kinds=(api.TXT2IMG, api.IMG2IMG),
    attachments=(api.IMAGE,),
)
STEP_S = float(os.environ.get("PIXWIRE_TEST_STEP_S", "0.001"))
HEARTBEAT_S = float(os.environ.get("PIXWIRE_TEST_HEARTBEAT_S", "1.0"))
STATS = api.JobStats(passes=1, pass_share=1.0, encode_ms=0.0, denoise_ms=0.0, decode_ms=0.0, image_ms=0.0)


@dataclass
class Resident:
    """A task and how far it is; `way` does one piece of it at a time."""

    task: api.GenerateTask
    step: int = 0
    cancelled: bool = False
    way: Iterator[None] = field(default_factory=lambda: iter(()))


class Engine:
    """One thread computes, one reads commands, one shows that it lives."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._commands: queue.SimpleQueue[api.Message] = queue.SimpleQueue()
        self._sending = threading.Lock()
        self._residents: dict[int, Resident] = {}

    def run(self) -> None:
        """Serve until Shutdown or the end of the parent."""
        self._emit(api.Ready((api.ModelInfo(CARD.name, api.ModelState.LOADED, CARD),)))
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        while True:
            while not self._residents or not self._commands.empty():
                command = self._commands.get()
                if isinstance(command, api.Shutdown):
                    return
                self._handle(command)
            time.sleep(STEP_S)  # one shared pass
            for handle, resident in list(self._residents.items()):
                if next(resident.way, self) is self:
                    del self._residents[handle]

    def _handle(self, command: api.Message) -> None:
        if isinstance(command, api.Submit):
            resident = Resident(command.task)
            resident.way = self._way(resident)
            self._residents[command.task.handle] = resident
        elif isinstance(command, api.Cancel) and command.handle in self._residents:
            self._residents[command.handle].cancelled = True

    def _way(self, resident: Resident) -> Iterator[None]:
        task = resident.task
        self._emit(api.Started(task.handle))
        reach("encoding", task.prompt)
        yield
        for step in range(1, task.steps + 1):
            if resident.cancelled:
                self._emit(api.Left(task.handle))
                self._emit(api.Cancelled(task.handle, resident.step, STATS))
                return
            if step == 2 and task.prompt.startswith("poison"):
                os.kill(os.getpid(), signal.SIGKILL)
            resident.step = step
            self._emit(api.Progress(task.handle, step, task.steps))
            reach(f"step {step}", task.prompt)
            yield
        self._emit(api.Left(task.handle))
        reach("decoding", task.prompt)
        yield
        seeds = range(task.seed, task.seed + task.count)
        what = task.prompt, task.negative_prompt, task.width, task.height, task.steps, task.guidance_scale
        picture = Path(task.inputs[0].path).read_bytes() if task.inputs else None
        images = [
            api.EncodedImage(paint(*what, seed, picture), task.media_type, task.width, task.height, seed)
            for seed in seeds
        ]
        reach("image encoding", task.prompt)
        yield
        self._emit(api.Finished(task.handle, tuple(images), STATS))

    def _emit(self, report: api.Report) -> None:
        try:
            with self._sending:
                for buffer in encode(report):
                    self._link.sendall(buffer)
        except OSError:
            os._exit(0)  # the parent is dead

    def _read(self) -> None:
        decoder = Decoder()
        try:
            while data := self._link.recv(1 << 16):
                for message in decoder.feed(data):
                    self._commands.put(message)
        except OSError:
            pass
        os._exit(0)

    def _beat(self) -> None:
        while True:
            self._emit(api.Heartbeat(len(self._residents), 0))
            time.sleep(HEARTBEAT_S)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Engine(socket.socket(fileno=int(sys.argv[1]))).run()
