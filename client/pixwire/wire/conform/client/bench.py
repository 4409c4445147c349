"""Where clients are tested: one listening socket, and for each scenario one run of the client's command.

The contract of the command stands in `options.CONTRACT`, which is the end of the help of `pixwire wire conform`.
"""

import asyncio
import contextlib
import os
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ...errors import InputError
from ...transport import Target, Wire
from ..cases import Case
from ..images import noisy_png
from ..peer import Peer
from ..runner import Outcome, run_case
from ..verdicts import Failure, Silent, Skip
from .actor import IMAGE, Actor, Stage
from .judge import ClientJudge

INPUT: Final = noisy_png(64)
"""The image of the scenarios with uploads: larger than the smallest windows and frames."""
PROMPT: Final = "a red circle on a blue background"
_PATIENCE: Final = 3
"""A whole run of the client may take this many times the deadline."""
_SETTLE_SECONDS: Final = 1.0
"""Without a command: so long after its last connection a client is taken to be done."""
MakeActor = Callable[[Stage, Peer[ClientJudge], int], Actor]


@dataclass(slots=True)
class Performance:
    """What a client did: its exit code (None: no command), the file it wrote, what it printed, its connections."""

    stage: Stage
    actors: list[Actor] = field(default_factory=list)
    exit_code: int | None = None
    image: bytes | None = None
    output: bytes = b""
    judged: bool = True

    def got(self, image: bytes = IMAGE) -> None:
        """Fails unless the client got exactly this image."""
        if self.judged and self.exit_code != 0:
            raise Failure(f"the client exits with {self.exit_code}: {self.said()}")
        if self.judged and self.image != image:
            size = "no file" if self.image is None else f"{len(self.image)} other bytes"
            raise Failure(f"the client wrote {size} instead of the image of {len(image)} bytes")

    def failed(self) -> None:
        """Fails unless the client says that it has no image, and has none."""
        if self.judged and self.exit_code == 0:
            raise Failure("the client exits with 0 although it could not get the image")
        if self.judged and self.image is not None:
            raise Failure(f"the client left a file of {len(self.image)} bytes although it could not get the image")

    def got_or_failed(self, *images: bytes) -> None:
        """Fails when the client claims success and has none of these images."""
        if self.exit_code == 0 and self.image not in (images or (IMAGE,)):
            raise Failure("the client exits with 0, and its file is not the image")

    def said(self) -> str:
        """The end of what the client printed."""
        return repr(self.output[-300:].decode(errors="replace"))


class Bench:
    """Listens while it is entered. `command` may be empty: then somebody starts the client by hand."""

    def __init__(self, command: Sequence[str], listen: str, deadline: float = 10.0) -> None:
        self.command = tuple(command)
        self.deadline = deadline
        self.url = ""
        self._listen = listen
        self._server: asyncio.Server | None = None
        self._folder = Path()
        self._closing = contextlib.ExitStack()
        self._make: MakeActor | None = None
        self._performance = Performance(Stage())
        self._tasks: list[asyncio.Task[None]] = []
        self._process: Process | None = None
        self._arrived = asyncio.Event()
        self._broken = asyncio.Event()

    @property
    def name(self) -> str:
        """The client under test, for reports."""
        return " ".join(self.command) or f"a client of {self.url}"

    async def __aenter__(self) -> Self:
        host, colon, port = self._listen.rpartition(":")
        if not colon or not (port.isascii() and port.isdigit() and len(port) <= 5) or int(port) > 0xFFFF:
            raise InputError(f"{self._listen!r} is no address to listen on", "write HOST:PORT, port 0 for a free one")
        try:
            self._server = await asyncio.start_server(self._connected, host.strip("[]"), int(port))
        except OSError as error:
            raise InputError(f"cannot listen on {self._listen}: {error.strerror or error}") from None
        except UnicodeError:  # a part of the name is empty, or has more than 63 characters
            raise InputError(f"cannot listen on {self._listen!r}: no host can have this name") from None
        self.url = f"pixwire://{host}:{self._server.sockets[0].getsockname()[1]}"
        self._folder = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="pixwire-conform-")))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.drop()
        if self._server is not None:
            self._server.close()
        self._closing.close()

    async def run(
        self, cases: Sequence[Case], on_outcome: Callable[[Outcome], None] = lambda outcome: None
    ) -> list[Outcome]:
        """All scenarios, one after another."""
        outcomes = []
        for case in cases:
            if not self.command:
                print(f"{case.address} {case.title}: start the client against {self.url}", flush=True)
            outcomes.append(await run_case(self, case))
            on_outcome(outcomes[-1])
        return outcomes

    # ------------------------------------------------------------------ one scenario

    async def play(self, *actors: type[Actor], upload: bool = False, judged: bool = True) -> Performance:
        """Run the client against these actors: the first plays its first connection, the last one all that follow.

        Raises what the first connection with a fault has found.
        """

        def make(stage: Stage, peer: Peer[ClientJudge], number: int) -> Actor:
            return actors[min(number, len(actors) - 1)](stage, peer)

        self._make = make
        performance = self._performance = Performance(Stage())
        self._arrived.clear()
        self._broken.clear()
        if upload:
            performance.stage.input_image = INPUT
        await self._run_client(performance)
        await self.drop()
        for actor in performance.actors:
            if actor.violation is not None:
                raise actor.violation
        if not performance.actors:
            raise Failure(f"the client never connected; it exits with {performance.exit_code}: {performance.said()}")
        return performance

    async def _run_client(self, performance: Performance) -> None:
        out = self._folder / "out.png"
        out.unlink(missing_ok=True)
        if not self.command:
            performance.judged = False
            await self._wait_for_somebody()
            return
        facts = {"url": self.url, "out": str(out), "job": f"conform-{os.urandom(4).hex()}", "prompt": PROMPT}
        if performance.stage.input_image:
            image = self._folder / "in.png"
            image.write_bytes(performance.stage.input_image)
            facts["image"] = str(image)
        command = [_filled(word, {"image": "", **facts}) for word in self.command]
        env = {**os.environ, **{f"PIXWIRE_{name.upper()}": value for name, value in facts.items()}}
        if "image" not in facts:
            env.pop("PIXWIRE_IMAGE", None)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=PIPE, stderr=asyncio.subprocess.STDOUT, env=env
            )
        except OSError as error:
            raise InputError(f"cannot start {command[0]!r}: {error.strerror or error}") from None
        limit = self.deadline * _PATIENCE
        talk = asyncio.ensure_future(self._process.communicate())
        broken = asyncio.ensure_future(self._broken.wait())
        done, _ = await asyncio.wait((talk, broken), timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        broken.cancel()
        if talk not in done:
            await self._kill()
            await talk
            if broken not in done:
                raise Silent(f"the client did not end within {limit:g} s")
        performance.output = talk.result()[0]
        performance.exit_code = self._process.returncode
        performance.image = out.read_bytes() if out.exists() else None

    async def _wait_for_somebody(self) -> None:
        await self._arrived.wait()
        while any(not task.done() for task in self._tasks):
            await asyncio.wait(self._tasks, timeout=self.deadline * _PATIENCE)
            await asyncio.sleep(_SETTLE_SECONDS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._make is None:
            writer.close()
            return
        wire = Wire(Target(self.url, "", 0, None, False), reader, writer)
        peer = Peer(wire, self.deadline * _PATIENCE, ClientJudge())
        actor = self._make(self._performance.stage, peer, len(self._performance.actors))
        self._performance.actors.append(actor)
        self._arrived.set()
        task = asyncio.current_task()
        if task is not None:
            self._tasks.append(task)
        await actor.run()
        if actor.violation is not None:
            self._broken.set()

    async def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def drop(self) -> None:
        """End the client and its connections."""
        await self._kill()
        self._process = None
        tasks, self._tasks = self._tasks, []
        if tasks:
            _, slow = await asyncio.wait(tasks, timeout=self.deadline)
            for task in slow:
                task.cancel()
            if slow:
                await asyncio.wait(slow)


async def run_all(
    benches: Sequence[Bench], cases: Sequence[Case], on_outcome: Callable[[Outcome], None]
) -> list[Outcome]:
    """All scenarios, on as many benches at a time as there are; the outcomes are in the order of the cases."""
    waiting = iter(enumerate(cases))
    outcomes: dict[int, Outcome] = {}

    async def work(bench: Bench) -> None:
        for number, case in waiting:
            (outcomes[number],) = await bench.run([case], on_outcome)

    async with contextlib.AsyncExitStack() as stack:
        for bench in benches:
            await stack.enter_async_context(bench)
        tasks = [asyncio.ensure_future(work(bench)) for bench in benches]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
    return [outcomes[number] for number in sorted(outcomes)]


def _filled(word: str, facts: dict[str, str]) -> str:
    for name, value in facts.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def skip_without_command(bench: Bench) -> None:
    """Skip a scenario whose verdict is the client's exit code or its output."""
    if not bench.command:
        raise Skip("only a client that is started here can be judged")
