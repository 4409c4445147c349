"""The deadlines of one connection, with a clock that the test turns."""

import asyncio
import gc

import pytest
from raw_client import SETTINGS, Connect

from pixwire_protocol.messages import Status
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.clocks import CREDENTIALS_EVERY_S, Clocks, Due
from pixwire_server.doors.tcp import PxwProtocol


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(SETTINGS, 100.0)


def due_times(clocks: Clocks, now: float, until: float) -> list[tuple[float, Due]]:
    """What is due between `now` and `until`, when the deadlines are followed."""
    found: list[tuple[float, Due]] = []
    for _ in range(20):
        now = max(now, clocks.next_deadline(now))
        if now > until:
            return found
        due = clocks.poll(now, 0)
        if due is not None:
            found.append((now, due))
            if due is Due.DEAD:
                return found
    raise AssertionError(f"the deadlines do not move on: {found}")


@pytest.mark.req("PXW-HSK-008")
def test_the_handshake_counts_from_the_accept(clocks: Clocks) -> None:
    clocks.on_receive(109.0, mid_frame=False, completed=True)
    assert clocks.next_deadline(109.0) == 110.0
    assert clocks.poll(109.9, 0) is None
    assert clocks.poll(110.0, 0) is Due.HANDSHAKE


@pytest.mark.req("PXW-KAL-005")
def test_a_silent_peer_is_asked_thrice_and_then_given_up(clocks: Clocks) -> None:
    clocks.on_ready(100.0)
    asked = due_times(clocks, 100.0, 180.0)
    assert asked == [(120.0, Due.PING), (140.0, Due.PING), (160.0, Due.PING), (180.0, Due.DEAD)]


@pytest.mark.req("PXW-LIM-004")
def test_a_frame_has_its_time_from_its_own_beginning(clocks: Clocks) -> None:
    clocks.on_ready(100.0)
    assert clocks.on_receive(101.0, mid_frame=True, completed=False)
    assert not clocks.on_receive(111.0, mid_frame=True, completed=False)  # dribbling buys no time
    assert clocks.next_deadline(111.0) == 131.0
    assert clocks.on_receive(112.0, mid_frame=True, completed=True)  # the next one has begun
    assert clocks.next_deadline(112.0) == 132.0
    clocks.on_receive(113.0, mid_frame=True, completed=False)
    clocks.on_receive(125.0, mid_frame=True, completed=False)
    assert clocks.poll(142.0, 0) is Due.FRAME


@pytest.mark.req("PXW-LIM-005")
def test_a_reader_stalls_when_no_byte_goes_not_when_few_do(clocks: Clocks) -> None:
    clocks.on_ready(100.0)
    clocks.on_pause(100.0, 5000)
    clocks.on_receive(125.0, mid_frame=False, completed=True)
    assert clocks.paused
    assert clocks.poll(130.0, 4999) is None
    clocks.on_receive(150.0, mid_frame=False, completed=True)
    assert clocks.poll(159.9, 4999) is None
    assert clocks.poll(160.0, 4999) is Due.STALLED
    clocks.on_resume()
    assert not clocks.paused


def test_a_goodbye_is_due_once(clocks: Clocks) -> None:
    clocks.on_ready(100.0)
    clocks.say_goodbye_by(102.0)
    assert due_times(clocks, 100.0, 110.0) == [(102.0, Due.GOODBYE)]
    clocks.say_goodbye_by(112.0)
    clocks.say_goodbye_by(None)
    assert due_times(clocks, 110.0, 119.0) == []


@pytest.mark.req("PXW-AUT-015")
def test_credentials_are_looked_at_when_they_end_and_now_and_then(clocks: Clocks) -> None:
    clocks.on_ready(100.0)
    clocks.watch_credentials(100.0, 5.0)
    assert due_times(clocks, 100.0, 110.0) == [(105.0, Due.CREDENTIALS)]
    clocks.watch_credentials(110.0, 1e9)
    assert clocks.next_deadline(110.0) <= 110.0 + CREDENTIALS_EVERY_S
    clocks.on_receive(110.0 + CREDENTIALS_EVERY_S, mid_frame=False, completed=True)
    assert clocks.poll(110.0 + CREDENTIALS_EVERY_S, 0) is Due.CREDENTIALS
    clocks.watch_credentials(800.0, -3.0)
    assert clocks.poll(800.0, 0) is Due.CREDENTIALS
    clocks.watch_credentials(800.0, None)
    clocks.on_receive(800.0, mid_frame=False, completed=True)
    assert clocks.next_deadline(800.0) == 820.0


def test_at_the_end_nothing_else_matters(clocks: Clocks) -> None:
    clocks.on_pause(100.0, 1)
    clocks.say_goodbye_by(100.0)
    clocks.end_by(500.0)
    assert clocks.next_deadline(100.0) == 500.0
    assert clocks.poll(499.0, 1) is None
    assert clocks.poll(500.0, 1) is Due.CUT


async def test_a_deadline_that_is_due_already_is_no_surprise(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop gives a plain handle, which does not know its time, for a timer of less than half a millisecond."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    client = await connect()
    (protocol,) = (item for item in gc.get_objects() if type(item) is PxwProtocol and item._transport is not None)
    with monkeypatch.context() as patched:
        patched.setattr(Clocks, "next_deadline", lambda clocks, now: now)
        protocol._arm()
        protocol._arm()
    (stream,) = await client.open(Status("nobody"))
    assert (await client.error(stream)).code == ErrorCode.JOB_NOT_FOUND
    assert not complaints
