"""What is told of calls and connections: to the log, and to a function of the user's."""

import asyncio
import logging
from typing import Any

import pytest
from aio_support import PNG, spawn
from scripted_server import ScriptedServer
from shells import Shell

import pixwire
from pixwire import errors
from pixwire_protocol.messages import Status, Submit
from pixwire_protocol.registry import ErrorCode

pytestmark = pytest.mark.usefixtures("tidy")
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_record_for_each_call(server: ScriptedServer, shell: Shell) -> None:
    records: list[pixwire.CallRecord] = []
    async with shell.connect(server.url, on_call=records.append) as client:
        task = spawn(client.generate("x", job_id="j", traceparent=TRACE))
        request = await server.next(Submit)
        request.accept("running")
        request.succeed([PNG])
        await task
        task = spawn(client.job("k").status())
        (await server.next(Status)).error(ErrorCode.JOB_NOT_FOUND)
        with pytest.raises(errors.JobNotFound):
            await task
        with pytest.raises(errors.RequestTimeout):
            await client.job("k").status(timeout=0.01)
        assert [(one.operation, one.job, one.outcome, one.image_bytes, one.traceparent) for one in records] == [
            ("generate", "j", "ok", len(PNG), TRACE),
            ("status", "k", "JobNotFound", 0, None),
            ("status", "k", "RequestTimeout", 0, None),
        ]
        assert {one.url for one in records} == {server.url}
        assert all(one.seconds >= 0 for one in records)
        assert records[2].seconds > 0.009
        await server.next(Status)


async def test_each_server_is_told(shell: Shell) -> None:
    """With several servers there is a record for each that was asked."""
    records: list[pixwire.CallRecord] = []
    async with (
        ScriptedServer() as first,
        ScriptedServer() as second,
        shell.connect([first.url, second.url], on_call=records.append) as client,
    ):
        task = spawn(client.submit("x"))
        requests: list[asyncio.Future[Any]] = [asyncio.ensure_future(one.requests.get()) for one in (first, second)]
        done, left = await asyncio.wait(requests, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result().result("queued")
        await task
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        assert [(one.operation, one.outcome) for one in records] == [("submit", "ok")]
        assert records[0].url in (first.url, second.url)


async def test_a_listener_that_fails(server: ScriptedServer, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    def fail(record: pixwire.CallRecord) -> None:
        raise ZeroDivisionError("mine")

    async with shell.connect(server.url, on_call=fail) as client:
        task = spawn(client.submit("x"))
        (await server.next(Submit)).result("queued")
        assert (await task).id
    assert "on_call failed" in caplog.text
    assert "ZeroDivisionError: mine" in caplog.text


async def test_the_log(server: ScriptedServer, shell: Shell, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pixwire")
    server.tokens["secret"] = None
    async with shell.connect(server.url, token="secret") as client:
        task = spawn(client.submit("x", job_id="j"))
        (await server.next(Submit)).result("queued")
        await task
        server.peers[0].cut()
        task = spawn(client.submit("y", job_id="k"))
        (await server.next(Submit)).result("queued")
        await task
    lines = [record.getMessage() for record in caplog.records if record.name == "pixwire"]
    assert lines[0] == f"connected to {server.url}"
    assert lines[1] == f"-> submit j to {server.url}"
    assert lines[2].startswith(f"<- submit j from {server.url}: ok, ")
    assert sum(line.startswith("connection to") for line in lines) == 1
    assert lines.count(f"connected to {server.url}") == 2
    assert "secret" not in caplog.text
