"""What only the blocking client has: many threads, Ctrl-C, and being forgotten.

The server runs in a thread of its own; the client is used in the main thread, where Python raises KeyboardInterrupt.
"""

import asyncio
import gc
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aio_support import BIG, PNG
from scripted_server import Request, ScriptedServer
from server_thread import SECONDS, InThread, interrupt
from steady_server import images_of

import pixwire
from pixwire import errors
from pixwire.sync.worker import Worker
from pixwire_protocol.messages import Status, Submit, Watch
from pixwire_protocol.registry import ErrorCode

# --- threads


def test_one_client_for_many_threads(steady_thread: InThread) -> None:
    with pixwire.Client(steady_thread.url) as client, ThreadPoolExecutor(32) as pool:

        def make(number: int) -> bool:
            images = client.generate("x", count=2, job_id=f"j{number}", timeout=SECONDS)
            return [image.bytes for image in images] == images_of(f"j{number}", 2, 20_000)

        assert all(pool.map(make, range(300)))


def test_callbacks_are_called_where_one_waits(steady_thread: InThread) -> None:
    threads: set[threading.Thread] = set()
    with pixwire.Client(steady_thread.url) as client:
        client.generate("x", count=2, on_state=lambda _: threads.add(threading.current_thread()))
    assert threads == {threading.main_thread()}


def test_a_callback_may_use_the_client(scripted: InThread) -> None:
    """It blocks nobody but its own call, so it may even ask the server something."""
    with pixwire.Client(scripted.url) as client:
        found: list[Any] = []
        scripted.then(Submit, lambda request: (request.accept(), scripted.then(Status, answer), request.succeed([PNG])))

        def answer(request: Request) -> None:
            request.result("running")

        image = client.generate("x", on_state=lambda event: found or found.append(client.job(event.job).status()))
        assert image.bytes == PNG
        assert found[0].state == "running"


def test_on_connection_may_not_wait_for_its_own_client(scripted: InThread, capsys: Any) -> None:
    heard: list[Any] = []
    told = threading.Event()

    def listen(reason: str | None) -> None:
        heard.append(reason)
        if reason is None:
            try:
                client.ping()
            except RuntimeError as error:
                heard.append(str(error))
            told.set()

    with pixwire.Client(scripted.url, on_connection=listen) as client:
        scripted.call(lambda: scripted.server.peers[0].cut())
        assert told.wait(SECONDS)
    assert isinstance(heard[0], str)
    assert "leave that to another thread" in heard[-1]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_on_connection_harms_nobody(scripted: InThread, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    back = threading.Event()

    def listen(reason: str | None) -> None:
        if reason is None:
            back.set()
        raise ZeroDivisionError("mine")

    with pixwire.Client(scripted.url, on_connection=listen) as client:
        scripted.call(lambda: scripted.server.peers[0].cut())
        assert back.wait(SECONDS)
        assert client.ping() >= 0
    assert [report.exc_type for report in reported] == [ZeroDivisionError] * 2


def test_closing_ends_what_other_threads_wait_for(scripted: InThread) -> None:
    client = pixwire.Client(scripted.url)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(client.generate, "x")
        scripted.next(Submit)
        events = client.job("j").events()
        following = pool.submit(next, events)
        scripted.next(Watch)
        client.close()
        for waiting in (call, following):
            with pytest.raises(errors.ConnectionLost, match="the client was closed"):
                waiting.result(SECONDS)
    client.close()
    with pytest.raises(errors.ConnectionLost, match="the client was closed"):
        client.ping()


def test_closing_events_ends_the_waiting_in_another_thread(scripted: InThread) -> None:
    with pixwire.Client(scripted.url) as client, ThreadPoolExecutor(1) as pool:
        events = client.job("j").events()
        following = pool.submit(list, events)
        request = scripted.next(Watch)
        scripted.call(request.accept, "running")
        events.close()
        assert len(following.result(SECONDS)) <= 1
        assert scripted.do(request.peer.resets.get()) == request.stream


@pytest.mark.parametrize("moment", ["before", "after"])
def test_events_that_are_closed_while_they_begin_leave_nothing_at_the_server(
    scripted: InThread, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Another thread closes them just before, or just after, the thread of the connections hears of them."""
    begin = Worker.begin
    with pixwire.Client(scripted.url) as client:
        events = client.job("j").events()

        def begin_and_close(worker: Worker, *what: Any) -> None:
            if moment == "before":
                events.close()
            begin(worker, *what)
            if moment == "after":
                events.close()

        monkeypatch.setattr(Worker, "begin", begin_and_close)
        assert list(events) == []
        request = scripted.next(Watch)
        assert scripted.do(request.peer.resets.get()) == request.stream


def test_a_defect_of_the_thread_leaves_nobody_waiting(scripted: InThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda report: None)
    client = pixwire.Client(scripted.url)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.generate, "x")
        request = scripted.next(Submit)
        monkeypatch.setattr(Worker, "_heard", lambda worker, updates: 1 / 0)
        scripted.call(request.accept)
        with pytest.raises(errors.ConnectionLost, match="ZeroDivisionError"):
            call.result(SECONDS)
    client._link._connections().join()
    assert client.closed
    with pytest.raises(errors.ConnectionLost):
        client.ping()
    monkeypatch.undo()
    client.close()


def test_a_server_that_wants_to_see_nobody_for_weeks(scripted: InThread) -> None:
    """The system cannot wait so long at once (epoll counts milliseconds in 31 bits)."""
    with pixwire.Client(scripted.url) as client:
        peer = scripted.do(scripted.server.arrived.get())
        scripted.call(peer.goaway, ErrorCode.NO_ERROR, last_stream=0, reconnect_after_ms=2**31 - 1)
        peer = scripted.do(wait_for(peer.gone))
        with pytest.raises(errors.RequestTimeout):
            client.job("j").status(timeout=0.05)
        assert not client.closed


async def wait_for(future: "asyncio.Future[None]") -> None:
    await future


# --- Ctrl-C


@pytest.mark.parametrize("stage", ["sent", "accepted", "running", "half an image"])
def test_ctrl_c_leaves_job_and_connection_alone(scripted: InThread, stage: str) -> None:
    seen: list[Request] = []

    def act(request: Request) -> None:
        seen.append(request)
        if stage != "sent":
            request.accept("running" if stage != "accepted" else "queued")
        if stage == "half an image":
            request.change("succeeded", artifacts=[request.info(0, BIG)])
            request.announce_image(0, BIG)
            request.data(BIG[:300_000])
        interrupt()

    with pixwire.Client(scripted.url) as client:
        scripted.then(Submit, act)
        with pytest.raises(KeyboardInterrupt):
            client.generate("x")
        assert scripted.do(seen[0].peer.resets.get()) == seen[0].stream
        scripted.then(Submit, lambda request: (request.accept(), request.succeed([BIG])))
        assert client.generate("y").bytes == BIG


def test_ctrl_c_while_waiting_for_an_event_loses_nothing(scripted: InThread) -> None:
    with pixwire.Client(scripted.url) as client:
        events = client.job("j").events()
        seen: list[Request] = []
        scripted.then(Watch, lambda request: (seen.append(request), interrupt()))
        with pytest.raises(KeyboardInterrupt):
            next(events)
        scripted.call(seen[0].accept, "running")
        assert isinstance(next(events), pixwire.StateChange)
        scripted.call(seen[0].succeed, [PNG], deliver=False)
        assert [event.state for event in events if isinstance(event, pixwire.StateChange)] == ["succeeded"]


def test_ctrl_c_while_connecting(scripted: InThread) -> None:
    scripted.server.mute = True

    async def wait() -> None:
        await scripted.server.arrived.get()
        interrupt()

    asyncio.run_coroutine_threadsafe(wait(), scripted.loop)
    with pytest.raises(KeyboardInterrupt):
        pixwire.Client(scripted.url)
    scripted.do(asyncio.wait_for(_gone(scripted.server), SECONDS))


async def _gone(server: ScriptedServer) -> None:
    await server.peers[0].gone


# An interrupt that comes inside a finalizer is reported and dropped by Python itself; the call then just goes on.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment(steady_thread: InThread) -> None:
    """A timer interrupts calls wherever they are: each is done or interrupted, and the client works on."""
    interrupted = done = 0
    with pixwire.Client(steady_thread.url) as client:
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for number in range(300):
                try:
                    signal.setitimer(signal.ITIMER_REAL, (number % 60 + 1) * 50e-6)
                    client.generate("x", count=2, job_id=f"j{number}")
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    done += 1
                except KeyboardInterrupt:
                    interrupted += 1
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, previous)
        images = client.generate("x", count=2, job_id="last", timeout=SECONDS)
        assert [image.bytes for image in images] == images_of("last", 2, 20_000)
    assert interrupted + done == 300
    assert interrupted > 10


# --- being forgotten


def test_a_client_that_nobody_closed(scripted: InThread) -> None:
    client = pixwire.Client(scripted.url)
    peer = scripted.server.peers[0]
    job = client.job("j")
    del client
    gc.collect()
    scripted.then(Status, lambda request: request.result("running"))
    assert job.status().state == "running", "a handle keeps the connection"
    kept = [job]
    del job
    with pytest.warns(ResourceWarning, match=r"unclosed pixwire client of pixwire://127\.0\.0\.1"):
        kept.clear()

    async def gone() -> None:
        await peer.gone

    scripted.do(gone())
    wait_for_threads()


def wait_for_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("pixwire"):
            thread.join(SECONDS)


def test_events_that_nobody_holds_end_at_once(scripted: InThread) -> None:
    with pixwire.Client(scripted.url) as client:
        events = client.job("j").events()
        seen: list[Request] = []
        scripted.then(Watch, lambda request: (seen.append(request), request.accept("running")))
        next(events)
        del events
        gc.collect()
        assert scripted.do(seen[0].peer.resets.get()) == seen[0].stream


def test_a_client_cannot_be_pickled(scripted: InThread) -> None:
    with pixwire.Client(scripted.url) as client, pytest.raises(TypeError, match="make one in each process"):
        pickle.dumps(client)
