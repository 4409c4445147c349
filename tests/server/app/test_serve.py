"""The life of the server: start, the one line, drain, the second signal, and starts that fail."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships none
import pytest
from running_server import StartServer
from toy_engine import ToyEngine

from pixwire_protocol.messages import Cancel, Fetch, GoAway, Status, Submit, Watch
from pixwire_protocol.registry import ErrorCode
from pixwire_server import app
from pixwire_server.jobs import EngineLostError, open_jobs

PARAMS = msgpack.packb({"prompt": "a red circle", "seed": 5})


def submit(job: str = "j", **options: Any) -> Submit:
    return Submit(job=job, kind="txt2img", tail=PARAMS, **options)


def is_goaway(item: object) -> GoAway | None:
    message = getattr(item, "message", None)
    return message if isinstance(message, GoAway) else None


async def test_it_prints_one_line_with_the_real_port_and_drains_with_code_0(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server()
    url = await server.listening()
    assert url.startswith("pixwire://127.0.0.1:")
    assert not url.endswith(":0")
    assert server.lines == [f"pixwire: listening on {url} (model toy, device cpu)"]
    server.signal()
    assert await server.code() == 0
    assert server.engine.stopped
    assert len(server.lines) == 1


@pytest.mark.req("PXW-REQ-002")
@pytest.mark.req("PXW-JOB-010")
@pytest.mark.req("PXW-REQ-014")
@pytest.mark.req("PXW-REQ-015")
@pytest.mark.req("PXW-REQ-016")
@pytest.mark.req("PXW-REQ-019")
@pytest.mark.req("PXW-JOB-013")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_jobs_over_the_real_job_layer(start_server: StartServer, number: int) -> None:
    server = start_server(ToyEngine(image=bytes(range(256)) * 4000))
    client = await server.connect()
    (stream,) = await client.open(submit(watch=True, deliver=True))
    first = await client.body(stream)
    assert (first["duplicate"], first["seed"]) == (False, 5)
    while (event := await client.body(stream))["state"] != "succeeded":
        pass
    announced, image = await client.image(stream)
    assert image == bytes(range(256)) * 4000
    assert announced["etag"] == event["artifacts"][0]["etag"]
    again, status, fetch, watch, cancel, none = await client.open(
        submit(), Status(job="j"), Fetch(job="j", offset=1_000_000), Watch(job="j"), Cancel(job="j"), Status(job="n")
    )
    assert (await client.last(again))["duplicate"] is True
    assert (await client.last(status))["params"]["prompt"] == "a red circle"
    assert (await client.image(fetch))[1] == image[1_000_000:]
    assert (await client.last(watch))["state"] == "succeeded"
    assert (await client.last(cancel))["state"] == "succeeded"
    assert (await client.error(none)).code == ErrorCode.JOB_NOT_FOUND
    wrong = Submit(job="k", kind="txt2img", tail=msgpack.packb({"prompt": "x", "stepz": 3}))
    (stream,) = await client.open(wrong)
    error = await client.error(stream)
    assert (error.code, error.retry, error.processed) == (ErrorCode.INVALID_ARGUMENT, "no", "no")
    assert error.details is not None
    assert error.details["field"] == "stepz"
    client.close()
    server.signal(number)
    assert await server.code() == 0


@pytest.mark.req("PXW-DRN-007")
async def test_a_drain_lets_the_running_job_finish_and_delivers_its_image(start_server: StartServer) -> None:
    server = start_server(ToyEngine(hold=True))
    client = await server.connect()
    (stream,) = await client.open(submit(watch=True, deliver=True))
    await server.engine.started.wait()
    server.signal()
    assert (await client.wait(is_goaway)).code == ErrorCode.DRAINING
    assert (await client.wait(is_goaway)).last_stream == stream
    server.engine.finish(server.engine.tasks[0])
    while (await client.body(stream))["state"] != "succeeded":
        pass
    assert (await client.image(stream))[1] == b"toy image"
    await client.closed()
    client.close()
    assert await server.code() == 0


@pytest.mark.req("PXW-JOB-003")
@pytest.mark.req("PXW-DRN-006")
async def test_a_job_that_outlives_the_grace_is_there_after_the_restart(start_server: StartServer) -> None:
    server = start_server(ToyEngine(hold=True), drain_grace_s=0.0)
    client = await server.connect()
    (stream,) = await client.open(submit())
    await client.last(stream)
    await server.engine.started.wait()
    server.signal()
    await client.closed()
    client.close()
    assert await server.code() == 0
    second = start_server()
    client = await second.connect()
    (stream,) = await client.open(submit(watch=True))
    body = await client.body(stream)
    assert body["duplicate"] is True
    while body["state"] != "succeeded":
        body = await client.body(stream)
    client.close()


async def test_a_second_signal_stops_at_once(start_server: StartServer) -> None:
    server = start_server(ToyEngine(hold=True), drain_grace_s=3600)
    client = await server.connect()
    await client.open(submit())
    await server.engine.started.wait()
    server.signal()
    await client.wait(is_goaway)
    server.signal(signal.SIGINT)
    assert await server.code() == 128 + signal.SIGINT
    await client.closed()
    client.close()


async def test_a_signal_during_the_start_stops_it(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(ToyEngine(ready=False))
    async with asyncio.timeout(10):
        while not (tmp_path / "data" / "lock").exists():  # noqa: ASYNC110 - the file system tells nobody
            await asyncio.sleep(0)
    server.signal()
    assert await server.code() == 0
    assert server.lines == []


async def test_a_model_that_cannot_be_served_is_said_in_one_line_with_code_1(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = ToyEngine(ready=False)
    server = start_server(engine)
    refusing = asyncio.create_task(_refuse(engine))
    assert await server.code() == 1
    await refusing
    error = capsys.readouterr().err
    assert error == "pixwire serve: the engine cannot start: the weights are\\nof another model\n"


async def _refuse(engine: ToyEngine) -> None:
    await engine.spawned.wait()
    engine.refuse("the weights are\nof another model")


async def test_a_second_server_on_the_same_data_is_refused(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start_server()
    await first.listening()
    second = start_server()
    assert await second.code() == 1
    assert "in use by another pixwire server" in capsys.readouterr().err


async def test_a_taken_port_is_said_before_the_engine_is_started(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start_server()
    url = await first.listening()
    second = start_server(listen=url)
    assert await second.code() == 1
    assert f"cannot listen on {url}" in capsys.readouterr().err
    assert not second.engine.spawned.is_set()


async def test_several_addresses_are_all_served(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(listen=f"127.0.0.1:0,pixwire+unix://{tmp_path}/s")
    await server.listening()
    assert f", pixwire+unix://{tmp_path}/s (model" in server.lines[0]
    server.signal()
    assert await server.code() == 0
    assert not (tmp_path / "s").exists()


async def test_the_epoch_changes_with_each_start_and_the_server_id_does_not(start_server: StartServer) -> None:
    seen = []
    for _ in range(2):
        server = start_server()
        client = await server.connect()
        peer = client.connection.peer
        assert peer is not None
        seen.append(peer)
        client.close()
        server.signal()
        assert await server.code() == 0
    assert seen[0].server_id == seen[1].server_id  # type: ignore[union-attr]
    assert seen[0].epoch != seen[1].epoch  # type: ignore[union-attr]


def test_the_server_process_never_loads_torch() -> None:
    code = "import sys, pixwire_server.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_server_whose_stdout_takes_nothing_says_so_and_goes_on() -> None:
    code = "import logging; logging.basicConfig(); from pixwire_server import app; app._announce('here')"
    command = f'exec {sys.executable} -c "{code}; print(7)" >/dev/full'
    found = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True)
    said = "WARNING:pixwire_server.app:stdout cannot be written: No space left on device; its line is: here\n"
    assert (found.returncode, found.stderr) == (0, said)


async def test_an_engine_that_is_lost_for_good_ends_the_server_with_code_1(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    async def remember(*arguments: Any, **options: Any) -> Any:
        opened.append(await open_jobs(*arguments, **options))
        return opened[0]

    monkeypatch.setattr(app, "open_jobs", remember)
    server = start_server()
    await server.listening()
    opened[0].fatal.set_exception(EngineLostError("the engine cannot be started again"))
    assert await server.code() == 1
