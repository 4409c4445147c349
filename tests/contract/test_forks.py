"""A blocking client in a process that is forked: the child has its own connection, the parent keeps its one."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from aio_support import PNG
from server_thread import SECONDS, InThread
from steady_server import images_of

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Watch


def in_child(work: Callable[[], object]) -> int:
    """Runs it in a forked process and returns the exit code: 0 when it raised nothing."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def test_a_forked_process_makes_its_own_connection(steady_thread: InThread) -> None:
    with pixwire.Client(steady_thread.url) as client:
        client.generate("x", count=2, job_id="before")

        def work() -> None:
            assert not client.connected
            assert client.server.server_id == "steady"
            made = client.generate("x", count=2, job_id="child", timeout=SECONDS)
            assert [image.bytes for image in made] == images_of("child", 2, 20_000)
            assert client.connected
            client.close()
            assert client.closed

        assert in_child(work) == 0
        assert len(steady_thread.server.peers) == 2
        assert not client.closed
        images = client.generate("x", count=2, job_id="after", timeout=SECONDS)
        assert [image.bytes for image in images] == images_of("after", 2, 20_000)
        assert len(steady_thread.server.peers) == 2, "the parent kept its connection"


def test_what_was_under_way_belongs_to_the_parent(scripted: InThread) -> None:
    with pixwire.Client(scripted.url) as client:
        events = client.job("j").events()
        scripted.then(Watch, lambda request: request.accept("running"))
        next(events)

        def work() -> None:
            with pytest.raises(errors.ConnectionLost, match="forked"):
                next(events)
            events.close()
            with pytest.raises(StopIteration):
                next(events)

        assert in_child(work) == 0
        request = next(iter(scripted.server.peers[0].by_stream.values()))
        scripted.call(request.succeed, [PNG], deliver=False)
        assert [event.state for event in events if isinstance(event, pixwire.StateChange)] == ["succeeded"]


def test_a_client_that_was_closed_is_closed_in_the_child(steady_thread: InThread) -> None:
    client = pixwire.Client(steady_thread.url)
    client.close()

    def work() -> None:
        assert client.closed
        with pytest.raises(errors.ConnectionLost, match="closed"):
            client.ping()
        client.close()

    assert in_child(work) == 0


def test_a_child_that_cannot_connect_says_so_and_tries_again(steady_thread: InThread) -> None:
    with pixwire.Client(steady_thread.url) as client:
        steady_thread.server.mute = True

        def work() -> None:
            client._link._plan = replace_timeout(client._link._plan)
            for _ in range(2):
                with pytest.raises(errors.ConnectError, match="no answer"):
                    client.ping()

        assert in_child(work) == 0
        steady_thread.server.mute = False
        assert client.ping() >= 0


def replace_timeout(plan: Any) -> Any:
    from dataclasses import replace

    return replace(plan, policy=replace(plan.policy, connect_timeout=0.05))


def test_several_connections_in_a_forked_process(steady_thread: InThread) -> None:
    """The child makes all its own ones; a call that was under way in the parent fails there and goes on here."""
    with pixwire.Client(steady_thread.url, connections=3) as client:
        client.generate("x", count=2, job_id="before")

        def work() -> None:
            assert not client.connected
            made = client.generate("x", count=2, job_id="child", timeout=SECONDS)
            assert [image.bytes for image in made] == images_of("child", 2, 20_000)
            assert client.job("before").image(timeout=SECONDS).bytes == images_of("before", 1, 20_000)[0]
            client.close()
            assert client.closed

        assert in_child(work) == 0
        made = client.generate("x", count=2, job_id="after", timeout=SECONDS)
        assert [image.bytes for image in made] == images_of("after", 2, 20_000)
