"""A client's whole life over every transport there is, with every public method of it."""

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aio_support import BIG, PNG, spawn
from certificates import Authority
from pictures import png
from scripted_server import ScriptedServer
from shells import Shell

import pixwire
from pixwire_protocol.messages import Admin, Cancel, Fetch, List, Status, Submit, Watch
from pixwire_protocol.settings import Settings

pytestmark = pytest.mark.usefixtures("tidy")

SETTINGS = Settings(agent="s", max_upload=1 << 24, auth=("bearer",))
TRANSPORTS = ["tcp", "tls", "mutual tls", "unix"]
MODEL = {
    "name": "shapes",
    "default": True,
    "pipeline": "P",
    "kinds": ["txt2img"],
    "attachments": [],
    "defaults": {"steps": 20, "guidance_scale": 5.0, "width": 64, "height": 64},
    "limits": {"size_multiple": 8, "max_width": 512, "max_height": 512, "max_steps": 200, "max_count": 16},
    "media_types": ["image/png"],
}


@asynccontextmanager
async def made(transport: str, folder: Path) -> AsyncIterator[tuple[ScriptedServer, dict[str, Any]]]:
    """A server there, and what the client has to say to reach it."""
    options: dict[str, Any] = {"token": lambda: "secret"}
    how: dict[str, Any] = {}
    if "tls" in transport:
        authority = Authority.new(folder)
        how["context"] = authority.server("127.0.0.1", clients=transport == "mutual tls")
        options["cafile"] = authority.cafile
    if transport == "mutual tls":
        options["certfile"], options["keyfile"] = authority.client(folder, "alice")
    if transport == "unix":
        how["path"] = str(folder / "s")
    async with ScriptedServer(SETTINGS, **how) as server:
        server.tokens = {"secret": None}
        yield server, options


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_whole_life(shell: Shell, tmp_path: Path, transport: str) -> None:
    async with made(transport, tmp_path) as (server, options):
        async with shell.connect(server.url, **options) as client:
            assert (client.principal, client.url, client.connected) == ("alice", server.url, True)
            assert await client.ping() >= 0
            await images(server, client)
            await jobs(server, client)
            await lists(server, client)
            assert client.bytes_received > len(BIG)
            server.peers[0].cut()  # and all of it goes on over another connection
            await images(server, client)
        assert client.closed
        assert len(server.peers) == 2


async def images(server: ScriptedServer, client: Any) -> None:
    picture = png(filler=500_000)
    task = spawn(client.generate("x", image=picture, strength=0.5))
    await server.next(Submit)
    request = await server.uploads.get()
    assert request.split() == [picture]
    request.accept()
    request.succeed([BIG])
    assert (await task).bytes == BIG

    async def collect() -> list[pixwire.Outcome]:
        return [outcome async for outcome in client.generate_many(["a", "b"], concurrency=1)]

    task = spawn(collect())
    for _ in range(2):
        request = await server.next(Submit)
        request.accept()
        request.succeed([PNG])
    assert [outcome.image.bytes for outcome in await task] == [PNG, PNG]


async def jobs(server: ScriptedServer, client: Any) -> None:
    task = spawn(client.submit("x", tags=["a"]))
    (await server.next(Submit)).result("queued")
    job = await task
    task = spawn(job.status())
    (await server.next(Status)).result("running")
    await task
    task = spawn(job.cancel("why not"))
    (await server.next(Cancel)).result("running")
    await task
    async with client.job(job.id).events(previews=True) as events:
        first = spawn(anext(events))
        watch = await server.next(Watch)
        watch.accept("running")
        await first
        watch.preview(1, b"rough")
        assert isinstance(await anext(events), pixwire.Preview)
    task = spawn(client.job(job.id).images())
    watch = await server.next(Watch)
    watch.accept("succeeded", artifacts=[watch.info(0, BIG)])
    watch.succeed([BIG], announce=False)
    assert [image.bytes for image in await task] == [BIG]
    for name, arguments in (("image", ()), ("fetch_to", (io.BytesIO(),))):
        task = spawn(getattr(client.job(job.id), name)(*arguments))
        (await server.next(Watch)).result("succeeded", artifacts=[watch.info(0, BIG)])
        (await server.next(Fetch)).image(0, BIG)
        assert (await task).bytes == BIG


async def lists(server: ScriptedServer, client: Any) -> None:
    task = spawn(client.models())
    (await server.next(List)).listed({"what": "models", "models": [MODEL]})
    assert [model.name for model in await task] == ["shapes"]

    async def collect() -> list[pixwire.JobSummary]:
        return [job async for job in client.jobs()]

    task = spawn(collect())
    (await server.next(List)).listed({"what": "jobs", "jobs": []})
    assert await task == []
    task = spawn(client.admin("resume"))
    (await server.next(Admin)).listed({"paused": False})
    assert await task == {"paused": False}


@pytest.mark.parametrize("transport", ["tcp", "tls", "unix"])
async def test_a_server_that_stops_reading(shell: Shell, tmp_path: Path, transport: str) -> None:
    """What cannot be sent waits for room, and nobody else's time: other calls keep their deadlines."""
    async with made(transport, tmp_path) as (server, options), shell.connect(server.url, **options) as client:
        peer = server.peers[0]
        peer.transport.pause_reading()
        big = [spawn(client.submit("\U0001f600" * 4000, job_id=f"j{number}")) for number in range(120)]
        with pytest.raises(pixwire.RequestTimeout):
            await client.job("j").status(timeout=0.1)
        peer.transport.resume_reading()
        answered = 0
        while answered < len(big):
            request = await server.requests.get()
            if isinstance(request.message, Submit):  # and not the question that nobody waits for any more
                request.result("queued")
                answered += 1
        assert len({job.id for job in await asyncio.gather(*big)}) == len(big)
