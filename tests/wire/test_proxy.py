"""The man in the middle, on real sockets: what passes, what is recorded, and the harm it does when told to."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st
from memory_jobs import MemoryJobs
from pki import Pki
from wire_bytes import HELLO, PARAMS, STATUS, frame, given

from pixwire.wire.annotate import SeenFrame, annotate
from pixwire.wire.capture import Capture, Chunk, Mark, Record
from pixwire.wire.errors import WireError
from pixwire.wire.faults import Faults, Flip, Lane, lanes
from pixwire.wire.lint import lint
from pixwire.wire.proxy import Proxy
from pixwire.wire.transport import TlsOptions, Wire, open_wire
from pixwire_protocol.messages import Fetch, Submit
from pixwire_protocol.status import JobState

SECONDS = 20.0  # a bound for a hang, never a measure
IMAGE = bytes(range(256)) * 4096  # 1 MiB


async def until(wire: Wire, name: str) -> bytes:
    """Reads up to the first frame of this name; what was read."""
    data = b""
    async with asyncio.timeout(SECONDS):
        while not any(isinstance(item, SeenFrame) and item.name == name for item in annotate(data, "S")):
            piece = await wire.read()
            assert piece, annotate(data, "S")
            data += piece
    return data


async def to_the_end(wire: Wire) -> bytes:
    data = b""
    async with asyncio.timeout(SECONDS):
        while piece := await wire.read():
            data += piece
    return data


async def stored_image(jobs: MemoryJobs, wire: Wire) -> None:
    """A job whose image is there."""
    await wire.write(frame(Submit("j", "txt2img", PARAMS), 1, end=True))
    await until(wire, "RESULT")
    jobs.change("j", JobState.SUCCEEDED, IMAGE)


async def test_it_passes_and_records(url: str) -> None:
    records: list[Record] = []
    async with Proxy(url, observe=records.append) as proxy:
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        said = await until(wire, "WELCOME")
        await wire.write(STATUS)
        said += await until(wire, "ERROR")
        passage = await proxy.accepted()
        wire.end()
        said += await to_the_end(wire)
        async with asyncio.timeout(SECONDS):
            await passage.ended.wait()
        await wire.close()
    (connection,) = Capture(tuple(records)).connections()
    assert connection.sent("C") == HELLO + STATUS
    assert connection.sent("S") == said
    marks = [(record.event, record.side) for record in records if isinstance(record, Mark)]
    assert marks[0] == ("open", None)
    assert set(marks[1:]) == {("eof", "C"), ("eof", "S")}
    assert lint(Capture(tuple(records))) == []
    assert [record.t_ns for record in records] == sorted(record.t_ns for record in records)


async def test_a_cut_after_so_many_bytes(url: str) -> None:
    async with Proxy(url, faults=Faults(cut_after=20, cut_side="S")) as proxy:
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        assert len(await to_the_end(wire)) <= 20
        assert wire.reset
        passage = await proxy.accepted()
        assert passage.sent["S"] == 20
        wire.abort()
        proxy.faults = Faults()
        again = await open_wire(proxy.url)
        await again.write(HELLO)
        await until(again, "WELCOME")
        again.abort()


async def test_a_cut_in_good_order_and_one_by_hand(url: str) -> None:
    async with Proxy(url, faults=Faults(cut_after=20, cut_side="S", cut_how="eof")) as proxy:
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        assert len(await to_the_end(wire)) == 20
        assert not wire.reset
        wire.abort()
        proxy.faults = Faults()
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        await until(wire, "WELCOME")
        proxy.cut_all()
        assert await to_the_end(wire) == b""
        assert wire.reset
        wire.abort()


async def test_a_reader_that_stalls_and_is_released(url: str, jobs: MemoryJobs) -> None:
    async with Proxy(url) as proxy:
        wire = await open_wire(proxy.url)
        passage = await proxy.accepted()
        await wire.write(HELLO)
        await until(wire, "WELCOME")
        await stored_image(jobs, wire)
        passage.hold("S")
        await wire.write(frame(Fetch("j"), 3, end=True))
        await jobs.until(lambda: jobs.open_images == 1)
        passage.release("S")
        await until(wire, "DATA")
        wire.abort()


async def test_stalling_from_a_byte_on(url: str) -> None:
    async with Proxy(url, faults=Faults(stall_after=30)) as proxy:
        wire = await open_wire(proxy.url)
        passage = await proxy.accepted()
        await wire.write(HELLO)
        async with asyncio.timeout(SECONDS):
            await passage.passed("S", 30)
        assert passage.sent["S"] == 30
        passage.cut()
        assert len(await to_the_end(wire)) <= 30
        wire.abort()


async def test_a_bit_is_turned_over(url: str) -> None:
    records: list[Record] = []
    async with Proxy(url, faults=Faults(flips=(Flip(0, 0, "C"),)), observe=records.append) as proxy:
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        assert await to_the_end(wire) == b""
        wire.abort()
    sent = b"".join(record.data for record in records if isinstance(record, Chunk) and record.side == "C")
    assert sent == bytes([HELLO[0] ^ 1]) + HELLO[1:]


async def test_slow_and_late_but_complete(url: str) -> None:
    async with Proxy(url, faults=Faults(delay_ms=5, rate=20_000)) as proxy:
        wire = await open_wire(proxy.url)
        await wire.write(HELLO)
        await until(wire, "WELCOME")
        wire.abort()


@pytest.mark.parametrize("how", ["tls upstream", "tls to the client", "unix"])
async def test_other_transports(how: str, open_door: Callable[..., Awaitable[str]], pki: Pki, tmp_path: Path) -> None:
    tls = TlsOptions(ca=pki.ca)
    url = await open_door(tls=pki.server() if how == "tls upstream" else None)
    listen = str(tmp_path / "p.sock") if how == "unix" else "127.0.0.1:0"
    server_tls = pki.server() if how == "tls to the client" else None
    async with Proxy(url, listen=listen, tls=tls, server_tls=server_tls) as proxy:
        wire = await open_wire(proxy.url, tls)
        await wire.write(HELLO)
        await until(wire, "WELCOME")
        passage = await proxy.accepted()
        await wire.close()
        async with asyncio.timeout(SECONDS):
            await passage.ended.wait()


async def test_no_server_behind_it() -> None:
    records: list[Record] = []
    async with Proxy("pixwire://127.0.0.1:1", observe=records.append) as proxy:
        wire = await open_wire(proxy.url)
        assert await to_the_end(wire) == b""
        wire.abort()
        (problem,) = proxy.problems
    assert "nobody listens on 127.0.0.1:1" in problem.message
    assert [record.detail for record in records if isinstance(record, Mark)] == [problem.message]


async def test_an_address_that_is_taken(url: str) -> None:
    taken = url.removeprefix("pixwire://")
    with pytest.raises(WireError, match=f"cannot listen on {taken}"):
        async with Proxy(url, listen=taken):
            pass


# ---------------------------------------------------------------------- the pure part


@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(0, 100))
def test_a_cut_lets_exactly_so_many_bytes_through(chunks: list[bytes], count: int) -> None:
    lane = lanes(Faults(cut_after=count, cut_side="S"))["S"]
    passed, cut = b"", False
    for chunk in chunks:
        for step in lane.take(chunk, 0.0):
            assert not cut
            passed += step.data
            cut = step.cut
        if cut:
            break
    assert passed == b"".join(chunks)[:count]
    if b"".join(chunks):
        assert cut == (len(b"".join(chunks)) >= count)


def test_a_cut_of_both_directions_together() -> None:
    both = lanes(Faults(cut_after=10))
    assert not any(step.cut for step in both["C"].take(b"x" * 6, 0.0))
    steps = both["S"].take(b"y" * 6, 0.0)
    assert b"".join(step.data for step in steps) == b"y" * 4
    assert steps[-1].cut


@given(st.lists(st.tuples(st.floats(0, 10), st.binary(max_size=40)), max_size=8), st.integers(1, 100))
def test_the_rate_is_kept_and_the_order_too(chunks: list[tuple[float, bytes]], rate: int) -> None:
    lane = Lane(Faults(rate=rate, delay_ms=100), "C")
    now, last, passed = 0.0, 0.0, b""
    for pause, data in chunks:
        now += pause
        for step in lane.take(data, now):
            assert step.at >= max(last, now + 0.1)
            last = step.at
            passed += step.data
    total = sum(len(data) for _, data in chunks)
    assert passed == b"".join(data for _, data in chunks)
    if total:
        assert last >= total / rate


@given(st.binary(min_size=1), st.lists(st.integers(1, 20), max_size=6), st.integers(0, 30), st.integers(0, 7))
def test_a_flip_hits_its_byte_however_the_bytes_come(data: bytes, sizes: list[int], offset: int, bit: int) -> None:
    lane = Lane(Faults(flips=(Flip(offset, bit),)), "S")
    out, rest = b"", data
    for size in [*sizes, len(data)]:
        out += b"".join(step.data for step in lane.take(rest[:size], 0.0))
        rest = rest[size:]
    expected = bytearray(data)
    if offset < len(data):
        expected[offset] ^= 1 << bit
    assert out == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"delay_ms": -1}, "delay_ms must be 0 or more"),
        ({"cut_after": -1}, "cut_after must be 0 or more"),
        ({"rate": 0}, "rate must be at least 1 byte per second"),
        ({"flips": (Flip(0, 8),)}, "a bit from 0 to 7"),
    ],
)
def test_faults_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**values)  # type: ignore[arg-type]
