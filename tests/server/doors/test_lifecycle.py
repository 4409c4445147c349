"""When connections are closed: timeouts, no room, the drain; and what a door listens on."""

import asyncio
import socket

import pytest
from door_scenes import BIG, PARAMS, answers, finished_job
from memory_jobs import MemoryJobs
from raw_client import Connect, OpenDoor

from pixwire_protocol.connection import Received
from pixwire_protocol.messages import Error, Fetch, GoAway, Ping, Result, Status, Submit, Watch, encode
from pixwire_protocol.registry import PREFACE, ErrorCode, Flag, FrameType
from pixwire_protocol.status import JobState
from pixwire_server.doors.address import TcpAddress, UnixAddress
from pixwire_server.doors.listeners import ListenError, bind_all

EVERY_STREAM = 2**31 - 1

# ---------------------------------------------------------------------- time


@pytest.mark.req("PXW-HSK-008")
async def test_a_connection_that_says_nothing_is_closed(connect: Connect, open_door: OpenDoor) -> None:
    _, address = await open_door(handshake_timeout_s=0.1)
    client = await connect(address, handshake=False)
    await client.send_bytes(PREFACE[:5])
    await client.closed()


@pytest.mark.req("PXW-LIM-004")
async def test_a_frame_that_never_ends_is_not_waited_for(connect: Connect, open_door: OpenDoor) -> None:
    _, address = await open_door(frame_timeout_s=0.1)
    client = await connect(address)
    client.connection.open(Status(job="j"))
    (frame,) = client.connection.data_to_send()
    await client.send_bytes(bytes(frame[:-1]))
    assert (await client.failure()).code == ErrorCode.EXCESSIVE_LOAD
    await client.closed()


@pytest.mark.req("PXW-KAL-005")
@pytest.mark.req("PXW-KAL-007")
async def test_a_silent_client_is_asked_and_then_closed(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    _, address = await open_door(idle_timeout_s=1.0, ping_timeout_s=1.0)
    client = await connect(address)
    await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await jobs.until(lambda: jobs.open_watches == 1)
    await jobs.until(lambda: jobs.open_watches == 0)  # it reads nothing, so it answers no PING
    await client.closed()
    assert any(isinstance(getattr(item, "message", None), Ping) for item in client.inbox)


@pytest.mark.req("PXW-LIM-005")
async def test_a_reader_that_takes_nothing_is_cut(connect: Connect, open_door: OpenDoor, jobs: MemoryJobs) -> None:
    _, address = await open_door(write_stall_s=0.2)
    client = await connect(address, stream_window=16_000_000, connection_window=64_000_000)
    await finished_job(client, jobs, image=BIG * 4)
    await client.open(Fetch(job="j"))
    await jobs.until(lambda: jobs.open_images == 1)
    await jobs.until(lambda: jobs.open_images == 0)


# ---------------------------------------------------------------------- room


async def test_one_connection_too_many_is_told_so_and_closed(connect: Connect, open_door: OpenDoor) -> None:
    door, address = await open_door(max_connections=1, linger_s=0.1)
    first = await connect(address)
    second = await connect(address, handshake=False)
    await second.flush()
    assert (await second.failure()).code == ErrorCode.EXCESSIVE_LOAD
    await second.closed()
    await answers(first)
    first.close()
    async with asyncio.timeout(10):
        while door.connections:  # noqa: ASYNC110 - nothing tells when the server has noticed
            await asyncio.sleep(0)
    await answers(await connect(address))


async def test_one_stream_too_many_is_refused_and_the_others_live(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    _, address = await open_door(max_streams=2)
    client = await connect(address)
    watch = Submit(job="j", kind="txt2img", tail=PARAMS, watch=True)
    first, second = await client.open(watch, watch)
    await client.next(first)
    await client.next(second)
    jobs.change("j", JobState.CANCELLED)
    assert (await client.next(first)).end
    assert (await client.next(second)).end
    await answers(client)


# ---------------------------------------------------------------------- drain


def submit_watched(job: str) -> Submit:
    return Submit(job=job, kind="txt2img", tail=PARAMS, watch=True)


def goaway(item: object) -> GoAway | None:
    message = getattr(item, "message", None)
    return message if isinstance(message, GoAway) else None


@pytest.mark.req("PXW-DRN-004")
@pytest.mark.req("PXW-DRN-007")
async def test_drain_says_goodbye_twice_lets_streams_finish_and_closes(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    door, address = await open_door()
    client, idle = await connect(address), await connect(address)
    (stream,) = await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True, deliver=True))
    await client.next(stream)
    door.begin_drain(5.0)
    first = await client.wait(goaway)
    assert (first.code, first.last_stream, first.grace_ms) == (ErrorCode.DRAINING, EVERY_STREAM, 5000)
    second = await client.wait(goaway)
    assert (second.code, second.last_stream) == (ErrorCode.DRAINING, stream)
    assert first.reconnect_after_ms == second.reconnect_after_ms
    assert first.reconnect_after_ms is not None
    assert 200 <= first.reconnect_after_ms <= 2000
    with pytest.raises(ConnectionRefusedError):
        await connect(address)
    jobs.change("j", JobState.SUCCEEDED, BIG)
    finishing = asyncio.create_task(door.finish(10.0))
    assert (await client.body(stream))["state"] == "succeeded"
    assert (await client.image(stream))[1] == BIG
    await client.closed()
    await idle.closed()
    client.close()
    idle.close()
    await finishing
    assert door.connections == 0


async def test_requests_sent_before_the_first_goodbye_was_read_still_count(
    connect: Connect, open_door: OpenDoor
) -> None:
    door, address = await open_door()
    client = await connect(address)
    door.begin_drain(5.0)
    (stream,) = await client.open(Submit(job="j", kind="txt2img", tail=PARAMS))
    assert isinstance((await client.next(stream)).message, Result)
    assert (await client.wait(goaway)).last_stream == EVERY_STREAM
    assert (await client.wait(goaway)).last_stream == stream


async def test_a_drain_does_not_wait_for_watches_or_for_a_reader_that_stalls(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    door, address = await open_door()
    watching = await connect(address)
    await watching.open(Submit(job="w", kind="txt2img", tail=PARAMS), Watch(job="w"))
    stalled = await connect(address, stream_window=1024)
    await finished_job(stalled, jobs)
    await stalled.open(Fetch(job="j"))
    await jobs.until(lambda: (jobs.open_images, jobs.open_watches) == (1, 1))
    door.begin_drain(0)
    await asyncio.gather(door.finish(0.3), watching.closed())
    assert door.connections == 0
    assert (jobs.open_images, jobs.open_watches) == (0, 0)


@pytest.mark.req("PXW-STR-009")
async def test_at_the_end_of_the_grace_who_follows_a_job_is_told_to_come_back(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    """Behind the last EVENT comes an ERROR; a submit that is answered only now gets both, too."""
    door, address = await open_door()
    client = await connect(address)
    submitted, watched = await client.open(submit_watched("j"), Watch(job="j"))
    for stream in (submitted, watched):
        await client.body(stream)
    jobs.hold = True
    (late,) = await client.open(submit_watched("late"))
    await jobs.until(lambda: bool(jobs.held))
    door.begin_drain(5.0)
    goodbye = await client.wait(goaway)
    jobs.change("j", JobState.RUNNING)
    jobs.change("j", JobState.QUEUED)
    finishing = asyncio.create_task(door.finish(10.0))
    for stream in (submitted, watched):
        assert [(await client.body(stream))["state"] for _ in range(2)] == ["running", "queued"]
        error = await client.error(stream)
        assert (error.code, error.retry, error.processed) == (ErrorCode.DRAINING, "after", "yes")
        assert error.retry_after_ms == goodbye.reconnect_after_ms
    jobs.commit()
    assert (await client.body(late))["state"] == "queued"
    error = await client.error(late)
    assert (error.code, error.processed) == (ErrorCode.DRAINING, "yes")
    await client.closed()
    client.close()
    await finishing
    assert jobs.open_watches == 0


@pytest.mark.req("PXW-DRN-002")
@pytest.mark.req("PXW-DRN-003")
async def test_a_client_that_answers_no_ping_gets_the_second_goodbye_all_the_same(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs
) -> None:
    door, address = await open_door()
    deaf, hears = await connect(address), await connect(address)
    for client in (deaf, hears):
        (stream,) = await client.open(Status(job="none"))
        await client.error(stream)
    deaf.shut = True  # it reads, and sends nothing of what it should
    door.begin_drain(0.2)
    for client in (deaf, hears):
        assert (await client.wait(goaway)).last_stream == EVERY_STREAM
        assert (await client.wait(goaway)).last_stream == 1
    before = deaf.received_bytes
    await deaf.send_bytes(b"".join(encode(Submit("late", "txt2img", PARAMS), 3, Flag.END)))
    deaf.connection._machine.last_stream = 3  # its own rules forbid the stream
    while deaf.received_bytes == before:
        await deaf.read()
    assert jobs.submits == 0


@pytest.mark.parametrize("said", [b"", PREFACE], ids=["nothing", "preface"])
async def test_a_drain_refuses_who_has_not_said_hello(connect: Connect, open_door: OpenDoor, said: bytes) -> None:
    door, address = await open_door(linger_s=0.1)
    served, silent = await connect(address), await connect(address, handshake=False)
    await silent.send_bytes(said)
    while said and not silent.received_bytes:
        await silent.read()
    door.begin_drain(5.0)
    assert (await served.wait(goaway)).last_stream == EVERY_STREAM
    await silent.send_bytes(PREFACE[len(said) :])
    assert (await silent.wait(goaway)).code == ErrorCode.DRAINING
    await silent.closed()


# ---------------------------------------------------------------------- the client's last words


@pytest.mark.req("PXW-CON-012", "PXW-CON-016")
@pytest.mark.parametrize("last", [FrameType.ERROR, FrameType.GOAWAY], ids=["error", "goaway"])
async def test_a_client_that_failed_is_closed(
    connect: Connect, open_door: OpenDoor, jobs: MemoryJobs, last: FrameType
) -> None:
    _, address = await open_door(linger_s=0.1)
    client = await connect(address)
    (stream,) = await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await client.next(stream)
    message = Error(code=267) if last is FrameType.ERROR else GoAway(last_stream=0, code=267)
    await client.send_bytes(b"".join(encode(message)) + b"".join(encode(Ping(b"12345678"))))
    await client.closed()
    assert not any(isinstance(item, Received) for item in client.inbox)
    assert jobs.open_watches == 0
    again = await connect(address)
    assert (await again.body((await again.open(Status(job="j")))[0]))["state"] == "queued"


@pytest.mark.req("PXW-CON-017")
async def test_a_refusal_comes_behind_the_servers_preface(connect: Connect, open_door: OpenDoor) -> None:
    _, address = await open_door(linger_s=0.1)
    client = await connect(address, handshake=False)
    await client.send_bytes(PREFACE + b"".join(encode(Ping(b"12345678"))))
    assert (await client.failure()).code == ErrorCode.PROTOCOL_ERROR
    await client.closed()


@pytest.mark.req("PXW-STR-021")
async def test_an_error_of_the_client_ends_its_stream_only(connect: Connect, jobs: MemoryJobs) -> None:
    client = await connect()
    (stream,) = await client.open(Submit(job="j", kind="txt2img", tail=PARAMS, watch=True))
    await client.next(stream)
    await client.send_bytes(b"".join(encode(Error(code=267), stream, Flag.END)))
    await jobs.until(lambda: jobs.open_watches == 0)
    await answers(client)


# ---------------------------------------------------------------------- listening


async def test_a_taken_port_is_named_with_advice() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"127.0.0.1:{port}: Address already in use; .*--listen"):
            await bind_all([TcpAddress("127.0.0.1", port)])


async def test_a_failed_bind_keeps_none_of_the_others(tmp_path: object) -> None:
    path = f"{tmp_path}/a.sock"
    with pytest.raises(ListenError, match="not-a-host"):
        await bind_all([UnixAddress(path), TcpAddress("not-a-host.invalid", 0)])
    (listener,) = await bind_all([UnixAddress(path)])
    listener.close()


async def test_localhost_gets_one_port_for_both_families() -> None:
    (listener,) = await bind_all([TcpAddress("localhost", 0)])
    try:
        ports = {sock.getsockname()[1] for sock in listener.sockets}
        assert isinstance(listener.address, TcpAddress)
        assert ports == {listener.address.port}
    finally:
        listener.close()


async def test_a_stale_unix_socket_is_replaced_and_a_live_one_is_not(open_door: OpenDoor, tmp_path: object) -> None:
    path = f"{tmp_path}/door.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    await open_door(UnixAddress(path))
    with pytest.raises(ListenError, match="Address already in use"):
        await bind_all([UnixAddress(path)])


async def test_an_address_for_other_machines_is_warned_about(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    await open_door(TcpAddress("0.0.0.0", 0))
    assert "no authentication" in caplog.text
