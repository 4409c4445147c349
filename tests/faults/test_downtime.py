"""The time in which there is no server passes for jobs as any other."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from crashing import CrashServer, Nursery
from gatekeeper import Gatekeeper
from wire_user import WireUser

LONG_MS, SHORT_MS = 600_000, 3_000


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gatekeeper]:
    async with Gatekeeper(tmp_path / "gate") as keeper:
        yield keeper


async def ended(user: WireUser, job: str) -> dict[str, Any]:
    """Its status once it has ended."""
    watching = await user.watch(job)
    while not watching.over:
        await watching.next()
    return await user.status(job)


@pytest.mark.req("PXW-JOB-027")
async def test_a_server_that_is_away_does_not_stop_the_time(nursery: Nursery, gate: Gatekeeper, tmp_path: Path) -> None:
    server = CrashServer(nursery, tmp_path, gate=gate.path)
    server.config["max_resident"] = 1
    gate.stops = {"step 1"}
    await server.start()
    user = await WireUser.connect(server.socket)
    await user.submit("first", "keeps the place", steps=2)
    await gate.arrival()
    await user.submit("timeout", "waits", terms={"timeout_ms": SHORT_MS}, steps=1)
    await user.submit("ttl", "waits", terms={"queue_ttl_ms": SHORT_MS}, steps=1)
    await user.submit("long", "waits", terms={"timeout_ms": LONG_MS}, steps=1)
    since = time.monotonic()
    left_ms = (await user.status("long"))["deadline_ms"]
    await user.close()
    await server.kill()
    await asyncio.sleep(SHORT_MS / 1000 + 0.1)
    await server.start()  # whoever runs now stands at the gate
    user = await WireUser.connect(server.socket)
    for job in ("timeout", "ttl"):
        status = await ended(user, job)
        assert (status["state"], status["error"]["name"]) == ("expired", "DEADLINE_EXCEEDED")
        assert "queued" in status["error"]["message"]
    passed_ms = (time.monotonic() - since) * 1000
    assert (await user.status("long"))["deadline_ms"] <= left_ms - passed_ms + 100
    gate.open()
    assert (await ended(user, "long"))["state"] == "succeeded"
    await user.close()
    assert await server.stop() == 0
