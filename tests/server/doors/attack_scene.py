"""The stage of an attack: an attacker who may send any bytes, a witness who is served, and what the server holds."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from door_scenes import BIG, answers, finished_job
from memory_jobs import MemoryJobs
from raw_client import RawClient

from pixwire_protocol.connection import Received
from pixwire_protocol.limits import Limits
from pixwire_protocol.messages import Fetch, GoAway, Message, encode
from pixwire_protocol.rates import Counts, Rates, Verdict
from pixwire_protocol.registry import MARKER, ErrorCode
from pixwire_server.doors.door import Door
from pixwire_server.doors.tcp import PxwProtocol

READ = 64 * 1024
"""Most bytes a server takes in one read of small frames."""


class StillRates(Rates):
    """Buckets that are never refilled."""

    def __init__(self, limits: Limits, now: float) -> None:
        super().__init__(limits, 0.0)

    def open(self, now: float) -> int | None:
        return super().open(0.0)

    def check(self, counts: Counts, now: float) -> Verdict | None:
        return super().check(counts, 0.0)


@dataclass
class Scene:
    """An attacker, a witness, and what they stand before."""

    door: Door
    connect: Callable[..., Awaitable[RawClient]]
    attacker: RawClient
    witness: RawClient
    jobs: MemoryJobs
    served: int = 0
    shells: list[PxwProtocol] = field(default_factory=list)

    async def attacker_that_is_full(self) -> None:
        """An attacker with all the credit there is, a hundred images on their way to it, and a kernel that is full."""
        before = members(self.door)
        self.attacker = await self.connect(stream_window=16_000_000, connection_window=64_000_000)
        self.shells = [shell for shell in members(self.door) if shell not in before]
        await finished_job(self.witness, self.jobs, image=BIG * 3)
        await self.attacker.open(*(Fetch(job="j") for _ in range(100)))
        await self.jobs.until(lambda: self.jobs.open_images == 100)
        while not self.shells[0]._clocks.paused:
            await self.witnessed()

    async def witnessed(self) -> None:
        await answers(self.witness)
        self.served += 1

    async def send(self, data: bytes) -> bool:
        """A blow, then the witness; False when the server has closed."""
        try:
            await self.attacker.send_bytes(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        finally:
            await self.witnessed()
        return True

    async def flood(self, frames: Iterable[bytes], size: int = READ // 2) -> None:
        """Send all of them without reading, `size` bytes at a time, until the server closes."""
        machine = self.attacker.connection._machine
        machine.last_stream = 2**31 - 1  # what it receives on streams that only these frames opened is no surprise
        rest = b"".join(frames)
        while rest and await self.send(rest[:size]):
            rest = rest[size:]

    async def ended_with(self, code: ErrorCode, why: str = "") -> None:
        """The connection is over, with this code and these words in the last GOAWAY."""
        failure = await self.attacker.failure()
        assert (failure.code, why in failure.message) == (code, True), failure
        await self.attacker.closed()

    def received(self, kind: type[Message]) -> int:
        """How many messages of this kind the attacker has received."""
        return sum(isinstance(getattr(item, "message", None), kind) for item in self.attacker.inbox)

    @property
    def held(self) -> int:
        """Bytes that wait for the attacker in the server: queued frames and what the transport has not sent."""
        shell = self.shells[0]
        outbox = shell._connection._machine.outbox
        return outbox._reply_bytes + outbox._control_bytes + shell._waiting_bytes()


def frame(message: Message, stream: int = 0, flags: int = 0) -> bytes:
    return b"".join(encode(message, stream, flags))


def raw(frame_type: int, stream: int = 0, head: bytes = b"", tail: bytes = b"", flags: int = 0) -> bytes:
    header = bytes([MARKER]) + (len(head) + len(tail)).to_bytes(3, "big") + bytes([frame_type, flags])
    return header + len(head).to_bytes(2, "big") + stream.to_bytes(4, "big") + head + tail


def members(door: Door) -> list[PxwProtocol]:
    return [member for member in door._reception.members if isinstance(member, PxwProtocol)]


def goaways(client: RawClient) -> list[GoAway]:
    messages = [item.message for item in client.inbox if isinstance(item, Received)]
    return [message for message in messages if isinstance(message, GoAway)]
