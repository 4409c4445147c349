"""Every server that is compared does the same: the four operations, with the same answers and the same bytes."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from benchmarks.processes import TWO_CORES
from benchmarks.transport.clients import blocks, frames, http, pxw
from benchmarks.transport.clients.base import Client, Place
from benchmarks.transport.contestants import (
    AIOHTTP,
    ASGI,
    BASE64,
    C_SOCKET,
    CHUNKS,
    CONTESTANTS,
    CORKED,
    DOOR,
    ECHO,
    FASTAPI,
    GRPC,
    LITSERVE,
    MOSEC,
    PY_SOCKET,
)
from benchmarks.transport.driving import CONNECTIONS, ONE, ONE_CONNECTION
from benchmarks.transport.grpc_api import board_pb2
from benchmarks.transport.native import NativeDriver
from benchmarks.transport.stage import Setting, Stage
from benchmarks.transport.work import KIB, PARAMS, STANDING, image

from pixwire_protocol.status import JobStatus

SIZE = 64 * KIB
HTTP = (DOOR, FASTAPI, ASGI, AIOHTTP)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("transport") / "stage", Setting((SIZE,))) as made:
        yield made
        pids = [pid for server in made.servers.values() for pid in server.pids]
    deadline = time.monotonic() + 30
    while any(map(exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)  # a killed orphan is gone when init has looked
    assert not [pid for pid in pids if exists(pid)], "the stage has left processes behind"


def exists(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def place(stage: Stage, name: str) -> Place:
    return Place(stage.addresses(CONTESTANTS[name]))


async def submitted_and_asked(client: Client) -> tuple[Any, Any]:
    """The answers to submit and status."""
    await client.connect(2)
    return await client.call("submit", 1)(), await client.call("status", 0)()


@pytest.mark.parametrize("name", HTTP)
async def test_http_servers_answer_alike(stage: Stage, name: str) -> None:
    where = place(stage, name)
    client = http.Http(where)
    submitted, status = await submitted_and_asked(client)
    assert status["state"] == submitted["state"] == "queued"
    assert status["job"] != submitted["job"]
    assert status["params"].items() >= {"prompt": PARAMS["prompt"], "steps": PARAMS["steps"]}.items()
    assert status["params"]["seed"] == status["seed"] != submitted["seed"], "no two requests are alike"
    assert status["params"].keys() >= {"negative_prompt", "width", "height", "guidance_scale", "count", "media_type"}
    assert status.keys() >= {"kind", "seq", "attempt", "step", "steps", "seed", "queue_position", "eta_ms"}
    assert bytes(await client.fetch(SIZE, "")) == image(SIZE)
    if BASE64 in CONTESTANTS[name].fetches:
        assert bytes(await client.fetch(SIZE, BASE64)) == image(SIZE)
    await client.close()
    base = "http://{}:{}/v1/jobs/".format(*where.tcp())
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}{status['job']}/events") as events:
            told = b""
            while b"\n\n" not in told.partition(b"event: state")[2]:
                told += await events.content.readany()
        lines = told.partition(b"event: state")[2].splitlines()
        (data,) = [line.removeprefix(b"data: ") for line in lines if line.startswith(b"data: ")]
        assert json.loads(data)["job"] == status["job"]
        async with session.get(f"{base}{'no-such-job'}") as missing:
            assert missing.status == 404


IN_GRPC = """
import asyncio, hashlib, json, sys
from benchmarks.transport.clients.base import Place
from benchmarks.transport.clients.grpc import Channel, Grpc
from benchmarks.transport.grpc_api import board_pb2

async def main(address, size, ways):
    client = Grpc(Place((address,)))
    await client.connect(2)
    submitted, status = await client.call("submit", 1)(), await client.call("status", 0)()
    images = {way: hashlib.sha256(await client.fetch(size, way)).hexdigest() for way in ways}
    own = Channel(Place((address,)))
    watching = own.events(board_pb2.JobName(job=status.job))
    told = await watching.read()
    watching.cancel()
    await own.channel.close(None)
    await client.close()
    jobs = [submitted.job, status.job, told.job]
    print(json.dumps([jobs, [status.state, status.params.prompt, status.params.width], images]))

asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
"""
"""In a process of its own: gRPC's threads stay, and other tests fork."""


def test_grpc_answers_like_them(stage: Stage) -> None:
    ways = ("unary", *map(str, CHUNKS))
    words = [sys.executable, "-c", IN_GRPC, stage.addresses(CONTESTANTS[GRPC])[0], str(SIZE), *ways]
    done = subprocess.run(words, stdout=subprocess.PIPE, check=True, text=True, timeout=60)
    (submitted, asked, told), status, images = json.loads(done.stdout)
    assert submitted != asked == told
    assert status == ["queued", PARAMS["prompt"], 64]
    assert images == dict.fromkeys(ways, hashlib.sha256(image(SIZE)).hexdigest())


async def test_pixwire_by_its_client_and_by_raw_frames(stage: Stage) -> None:
    client = pxw.Asyncio(place(stage, "pixwire asyncio"))
    submitted, status = await submitted_and_asked(client)
    assert isinstance(status, JobStatus)
    assert status.job != submitted.id
    assert status.params is not None
    assert {key: status.params[key] for key in PARAMS} == PARAMS
    assert bytes(await client.fetch(SIZE, "")) == image(SIZE)
    await client.close()

    raw = frames.Frames(place(stage, "pixwire raw frames"))
    submitted, status = await submitted_and_asked(raw)
    assert b"queued" in status
    assert b"queued" in submitted
    for _ in range(3):  # the second one needs the credit for the first
        assert bytes(await raw.fetch(SIZE, "")) == image(SIZE)
    with pytest.raises(ConnectionError, match="JOB_NOT_FOUND"):
        await raw._open[0].ask(frames.status_frame("no-such-job"))
    await raw.close()


def test_pixwire_by_its_client_for_threads(stage: Stage) -> None:
    client = pxw.Threads(place(stage, "pixwire threads"))
    client.connect(1)
    assert isinstance(client.call("status", 0)(), JobStatus)
    client.call("submit", 0)()
    assert bytes(client.fetch(SIZE, "")) == image(SIZE)
    client.close()


def test_the_floors_send_back_what_they_get(stage: Stage) -> None:
    client = blocks.Blocks(place(stage, PY_SOCKET))
    client.connect(2)
    client.call("status", 1)()
    assert bytes(client.fetch(SIZE, "")) == image(SIZE)
    client.close()
    for name in (ECHO, CORKED):
        for load in (ONE, ONE_CONNECTION, CONNECTIONS):
            command = {"do": "requests", "operation": "status", "load": load.name, "s": 0.005}
            assert stage.run(name, TWO_CORES, command)["count"] >= load.lanes


def test_the_c_floor_moves_whole_images(stage: Stage) -> None:
    if not stage.has(C_SOCKET):
        pytest.skip("no C compiler")
    command = {"do": "requests", "operation": "status", "load": ONE_CONNECTION.name, "s": 0.02}
    assert stage.run(C_SOCKET, TWO_CORES, command)["count"] >= 64
    assert stage.run(C_SOCKET, TWO_CORES, {"do": "fetches", "size": SIZE, "how": "", "s": 0.01})["count"] >= 3
    driver = stage.driver(C_SOCKET)
    assert isinstance(driver, NativeDriver)
    with pytest.raises(subprocess.CalledProcessError):
        driver.ask({"do": "fetches", "size": 1 << 30, "s": 0.01})


@pytest.mark.parametrize("name", [LITSERVE, MOSEC])
async def test_model_servers_answer_status(stage: Stage, name: str) -> None:
    where = place(stage, name)
    if name == LITSERVE:
        client = http.Service(where, "/predict", http.encode, http.decode)
    else:
        msgpack = pytest.importorskip("msgpack")
        client = http.Service(where, "/inference", msgpack.packb, msgpack.unpackb)
    await client.connect(1)
    answer = await client.call("status", 0)()
    assert (answer["job"], answer["state"], answer["params"]["prompt"]) == (STANDING, "queued", PARAMS["prompt"])
    await client.close()


def test_the_generated_code_is_that_of_the_proto(tmp_path: Path) -> None:
    protoc = pytest.importorskip("grpc_tools.protoc")
    root = Path(board_pb2.__file__).parents[3]
    name = "benchmarks/transport/grpc_api/board"
    words = ["protoc", f"-I{root}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"{name}.proto"]
    assert protoc.main(words) == 0
    for ending in ("_pb2.py", "_pb2.pyi"):
        lines = (root / f"{name}{ending}").read_text().splitlines()
        made = (tmp_path / f"{name}{ending}").read_text().splitlines()
        keep = [line for line in made if not line.startswith("# Protobuf Python Version")]
        assert [line for line in lines[3:] if not line.startswith("# Protobuf Python Version")] == keep
