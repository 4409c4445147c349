"""Several servers behind one client: who is asked, what happens when one goes, and that no job is made twice."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aio_support import PNG, SECONDS, spawn
from scripted_server import Request, ScriptedServer
from shells import Connected, Shell
from steady_server import SteadyServer

import pixwire
from pixwire import errors
from pixwire_protocol.messages import List, Status, Submit
from pixwire_protocol.registry import ErrorCode
from pixwire_protocol.settings import Settings

pytestmark = pytest.mark.usefixtures("tidy")


def named(name: str) -> Settings:
    return Settings(agent="scripted/1", server_id=name, epoch="e1")


@pytest.fixture
async def pair(tidy: None) -> AsyncIterator[tuple[ScriptedServer, ScriptedServer]]:
    """Two servers with a store each."""
    async with ScriptedServer(named("a")) as first, ScriptedServer(named("b")) as second:
        yield first, second


@pytest.fixture
async def both(pair: tuple[ScriptedServer, ScriptedServer], shell: Shell) -> AsyncIterator[Connected]:
    """A client that is connected to both."""
    async with shell.connect([server.url for server in pair]) as client:
        await all_there(client)
        yield client


def links(client: Connected) -> list[Any]:
    """The connections of a client of either shell."""
    return getattr(client, "target", client)._link._links  # type: ignore[no-any-return]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something that nobody tells of."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - it happens in another thread, or in this loop
            await asyncio.sleep(0.002)


async def all_there(client: Connected) -> None:
    """Waits until there are all connections."""
    await until(lambda: all(link.connected for link in links(client)))


async def either(pair: tuple[ScriptedServer, ScriptedServer]) -> tuple[int, Request]:
    """The next request, whoever gets it."""
    async with asyncio.timeout(SECONDS):
        gets = [asyncio.ensure_future(server.requests.get()) for server in pair]
        done, waiting = await asyncio.wait(gets, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert len(done) == 1
        return gets.index(next(iter(done))), next(iter(done)).result()


async def test_calls_are_spread(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    tasks, asked = [], []
    for _ in range(6):
        tasks.append(spawn(both.generate("x")))
        asked.append(await either(pair))
    assert sorted(index for index, _ in asked) == [0, 0, 0, 1, 1, 1]
    for index, request in asked:
        request.accept("running")
        request.succeed([PNG + bytes([index])])
    images = await asyncio.gather(*tasks)
    assert [image.bytes[-1] for image in images] == [index for index, _ in asked], "nobody gets another one's image"


async def test_the_one_with_less_to_do(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    slow = [spawn(both.generate("x")) for _ in range(4)]
    for server in pair:
        for _ in range(2):
            request = await server.next(Submit)
            if server is pair[1]:
                request.accept("running")
                request.succeed([PNG])
    await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: sum(task.done() for task in slow) == 2)
    more = [spawn(both.submit("x")) for _ in range(2)]
    for _ in range(2):
        (await pair[1].next(Submit)).result("queued")
    await asyncio.gather(*more)
    assert pair[0].requests.empty()
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def test_a_job_is_asked_for_where_it_is(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    jobs = []
    for _ in range(4):
        task = spawn(both.submit("x"))
        index, request = await either(pair)
        request.result("queued")
        jobs.append((index, await task))
    assert {index for index, _ in jobs} == {0, 1}
    for index, job in jobs:
        for handle in (job, both.job(job.id)):  # the second knows nothing itself
            task = spawn(handle.status())
            (await pair[index].next(Status)).result("running")
            assert (await task).state == "running"


async def test_an_unknown_job_is_asked_of_all(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    task = spawn(both.job("elsewhere").status())
    first, request = await either(pair)
    request.error(ErrorCode.JOB_NOT_FOUND)
    (await pair[1 - first].next(Status)).result("running")
    assert (await task).state == "running"
    again = spawn(both.job("elsewhere").status())
    (await pair[1 - first].next(Status)).result("running")  # it is known now
    await again

    task = spawn(both.job("nowhere").status())
    for _ in range(2):
        (await either(pair))[1].error(ErrorCode.JOB_NOT_FOUND)
    with pytest.raises(errors.JobNotFound, match="none of the servers knows job nowhere"):
        await task
    assert pair[0].requests.empty()
    assert pair[1].requests.empty()


async def test_a_full_server_is_passed_over(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    refusal: dict[str, Any] = {"retry": "after", "processed": "no"}
    task = spawn(both.submit("x"))
    first, request = await either(pair)
    request.error(ErrorCode.QUEUE_FULL, retry_after_ms=60_000, **refusal)
    other = await pair[1 - first].next(Submit)
    assert other.job == request.job
    other.result("queued")
    await task
    for _ in range(3):  # and gets nothing for as long as it said
        task = spawn(both.submit("x"))
        (await pair[1 - first].next(Submit)).result("queued")
        await task
    task = spawn(both.submit("x"))
    (await pair[1 - first].next(Submit)).error(ErrorCode.QUEUE_FULL, retry_after_ms=5_000, **refusal)
    (await pair[first].next(Submit)).error(ErrorCode.QUEUE_FULL, retry_after_ms=70_000, **refusal)
    with pytest.raises(errors.QueueFull) as caught:
        await task
    assert caught.value.retry_after_ms == 5_000


async def test_a_refusal_that_others_would_repeat_is_final(
    pair: tuple[ScriptedServer, ScriptedServer], both: Connected
) -> None:
    task = spawn(both.submit("x"))
    (await either(pair))[1].error(ErrorCode.JOB_CONFLICT)
    with pytest.raises(errors.JobConflict):
        await task
    assert pair[0].requests.empty()
    assert pair[1].requests.empty()


async def test_a_job_that_may_be_there_goes_nowhere_else(
    pair: tuple[ScriptedServer, ScriptedServer], both: Connected
) -> None:
    """The connection breaks after the order was sent: the same server is asked again, under the same id."""
    task = spawn(both.generate("x"))
    index, request = await either(pair)
    request.peer.cut()
    again = await pair[index].next(Submit)
    assert again.job == request.job
    again.accept("running", duplicate=True)
    again.succeed([PNG])
    assert (await task).bytes == PNG
    assert pair[1 - index].requests.empty()


@pytest.mark.parametrize("heard", [True, False])
async def test_an_id_given_again(pair: tuple[ScriptedServer, ScriptedServer], both: Connected, heard: bool) -> None:
    """Whoever submits once more under the same id attaches to the job, and makes no second one elsewhere."""
    first = spawn(both.submit("x", job_id="mine", timeout=None if heard else 0.05))
    where, request = await either(pair)
    if heard:
        request.result("queued")
        await first
    else:
        with pytest.raises(errors.RequestTimeout):
            await first
    for _ in range(3):
        again = spawn(both.submit("x", job_id="mine"))
        here, request = await either(pair)
        assert here == where
        request.result("queued", duplicate=True)
        assert (await again).id == "mine"


async def test_a_server_that_is_about_to_stop(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    """Orders that it has not taken go to the other one."""
    task = spawn(both.submit("x"))
    index, request = await either(pair)
    request.error(ErrorCode.DRAINING, retry="after", processed="no", retry_after_ms=60_000)
    request.peer.goaway(ErrorCode.DRAINING, last_stream=request.stream, reconnect_after_ms=60_000)
    other = await pair[1 - index].next(Submit)
    assert other.job == request.job
    other.result("queued")
    await task


async def test_one_of_them_is_enough_to_begin(shell: Shell, tmp_path: Path) -> None:
    path = str(tmp_path / "late")
    async with (
        ScriptedServer(named("a")) as here,
        shell.connect([f"pixwire+unix://{path}", here.url]) as client,
    ):
        for _ in range(3):
            task = spawn(client.submit("x"))
            (await here.next(Submit)).result("queued")
            await task
        async with ScriptedServer(named("b"), path=path) as late:  # the client comes back for it by itself
            await all_there(client)
            tasks = [spawn(client.submit("x")) for _ in range(2)]
            for server in (here, late):
                (await server.next(Submit)).result("queued")
            await asyncio.gather(*tasks)
            await client.close()


async def test_none_of_them_is_there(shell: Shell, tmp_path: Path) -> None:
    urls = [f"pixwire+unix://{tmp_path}/{name}" for name in ("one", "two")]
    with pytest.raises(errors.ConnectError) as caught:
        await shell.connect(urls)
    assert all(url in str(caught.value) for url in urls)


async def test_what_waits_goes_to_the_first_that_is_back(shell: Shell, tmp_path: Path) -> None:
    """Both go away; orders wait; one comes back and gets them all."""
    paths = [str(tmp_path / name) for name in ("one", "two")]
    urls = [f"pixwire+unix://{path}" for path in paths]
    lost: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def hear(reason: str | None) -> None:
        if reason is not None:
            loop.call_soon_threadsafe(lost.put_nowait, reason)

    async with ScriptedServer(named("a"), path=paths[0]), ScriptedServer(named("b"), path=paths[1]):
        client = await shell.connect(urls, on_connection=hear)
        await all_there(client)
    async with asyncio.timeout(SECONDS):
        reason = await lost.get()
    assert reason.partition(": ")[0] in urls
    assert not client.connected
    tasks = [spawn(client.submit("x")) for _ in range(4)]
    async with ScriptedServer(named("b"), path=paths[1]) as back:
        for _ in range(4):
            (await back.next(Submit)).result("queued")
        await asyncio.gather(*tasks)
        await client.close()


async def test_calls_fail_when_they_are_not_to_wait(shell: Shell, tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    async with ScriptedServer(named("b")) as stays:
        async with ScriptedServer(named("a"), path=path):
            client = await shell.connect([stays.url, f"pixwire+unix://{path}"], on_disconnect="fail")
            await all_there(client)
        for _ in range(4):
            task = spawn(client.submit("x"))
            (await stays.next(Submit)).result("queued")
            await task
        await client.close()


async def test_several_connections_to_one_server(shell: Shell) -> None:
    async with SteadyServer(count=1) as server, shell.connect(server.url, connections=3) as client:
        await all_there(client)
        jobs = await asyncio.gather(*(spawn(client.submit("x")) for _ in range(9)))
        assert len(server.peers) == 3
        shares = [len(peer.by_stream) for peer in server.peers]
        assert sum(shares) == 9
        assert min(shares) > 0, "threads that choose at the same moment may choose the same one, but not all of them"
        for job in jobs:
            assert (await client.job(job.id).image()).bytes == server.jobs[job.id].images[0]
        assert server.submits == 9


async def test_many_images(shell: Shell) -> None:
    async with (
        SteadyServer(count=1, settings=named("a")) as first,
        SteadyServer(count=1, settings=named("b")) as second,
        shell.connect([first.url, second.url]) as client,
    ):
        outcomes = [one async for one in client.generate_many(["x"] * 20, concurrency=4)]
        assert all(one.error is None for one in outcomes)
        assert first.submits + second.submits == 20
        link = getattr(client, "target", client)._link
        assert not link._trips, "nothing is left of them"
        assert [link._fleet.outstanding(index) for index in range(2)] == [0, 0]


async def test_the_user_hears_when_no_server_is_left(
    pair: tuple[ScriptedServer, ScriptedServer], shell: Shell, caplog: pytest.LogCaptureFixture
) -> None:
    loop, heard = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def hear(reason: str | None) -> None:
        loop.call_soon_threadsafe(heard.put_nowait, reason)

    async with shell.connect([server.url for server in pair], on_connection=hear) as client:
        await all_there(client)
        for server in pair:
            server.mute = True  # it takes connections, and says nothing any more
        first, second = links(client)
        pair[0].peers[0].cut()
        await until(lambda: not first.connected)
        assert client.connected
        pair[1].peers[0].cut()
        reason = await heard.get()
        assert reason is not None
        assert reason.startswith(f"{pair[1].url}: "), "the first loss was none"
        pair[0].mute = False
        for peer in pair[0].peers[1:]:
            peer.cut()
        assert await heard.get() is None
        assert not second.connected
        pair[1].mute = False
        for peer in pair[1].peers[1:]:
            peer.cut()
        await all_there(client)
    assert heard.empty()
    lost = [record for record in caplog.records if record.name == "pixwire" and "lost" in record.getMessage()]
    assert len(lost) >= 2, "each of them stands in the log"


async def test_lists_are_merged(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    async def collect() -> list[str]:
        return [job.job async for job in both.jobs(limit=3)]

    task = spawn(collect())
    for server, ages in ((pair[0], (10, 30)), (pair[1], (20, 40))):
        jobs = [
            {"job": f"j{age}", "kind": "txt2img", "state": "queued", "seq": 1, "step": 0, "steps": 4, "artifacts": 0}
            | {"age_ms": age}
            for age in ages
        ]
        (await server.next(List)).listed({"what": "jobs", "jobs": jobs})
    assert await task == ["j10", "j20", "j30"]


async def test_admin_is_about_one_server(both: Connected) -> None:
    with pytest.raises(errors.InvalidArgument, match="admin is about one server"):
        await both.admin("pause")


async def test_giving_up_leaves_nothing(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    with pytest.raises(errors.RequestTimeout):
        await both.generate("x", timeout=0.05)
    _, request = await either(pair)
    async with asyncio.timeout(SECONDS):
        assert await request.peer.resets.get() == request.stream
    link = getattr(both, "target", both)._link
    assert not link._trips


async def test_the_face_of_it(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    assert both.url == ",".join(server.url for server in pair)
    assert both.connected
    assert not both.closed
    assert both.server.server_id in ("a", "b")
    assert both.bytes_received > 0
    await both.close()
    assert both.closed
    with pytest.raises(errors.ConnectionLost):
        await both.submit("x")


@pytest.mark.parametrize(("url", "connections"), [([], 1), ("pixwire://localhost", 0), ("pixwire://localhost", 65)])
async def test_what_cannot_be_connected_to(shell: Shell, url: Any, connections: int) -> None:
    with pytest.raises(errors.InvalidArgument):
        await shell.connect(url, connections=connections)


def test_the_same_url_twice_is_one() -> None:
    with pytest.raises(pixwire.ConnectError) as caught:
        pixwire.Client(["pixwire+unix:///nowhere/s"] * 2)
    assert str(caught.value).count("/nowhere/s") == 1


async def test_a_mistake_leaves_no_call_behind(pair: tuple[ScriptedServer, ScriptedServer], both: Connected) -> None:
    with pytest.raises(TypeError):
        await both.job("j").status(timeout="5")
    assert not getattr(both, "target", both)._link._trips
    assert all(server.requests.empty() for server in pair)
