"""What the tests of the store share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pixwire_server.store import JobRow, Store, open_store

MakeRow = Callable[..., JobRow]


@pytest.fixture
def row() -> MakeRow:
    """Makes rows: `row(3, state="failed")`."""

    def make(position: int = 1, **fields: Any) -> JobRow:
        first = JobRow(
            position=position,
            principal="anonymous",
            job=f"job-{position}",
            kind="txt2img",
            fingerprint="f" * 64,
            params='{"prompt": "star"}',
            submitted_ms=1_700_000_000_000,
            state="queued",
            seq=1,
            attempt=1,
        )
        return first._replace(**fields)

    return make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with asyncio.timeout(60):  # a bound for a test that hangs, never a measure
        opened = await open_store(tmp_path / "data")
        yield opened
        await opened.close()
