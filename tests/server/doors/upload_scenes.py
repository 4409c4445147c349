"""Submits with attachments, and their bytes as fast as the server lets them come."""

import asyncio
import hashlib
from typing import Any

from door_scenes import PARAMS
from memory_jobs import MemoryJobs
from raw_client import RawClient

from pixwire_protocol.attachments import Attachment
from pixwire_protocol.messages import Submit

IMAGE = bytes(range(256)) * 8192  # 2 MiB
MASK = b"mask" * 1000
WINDOW = 262_144


def attachment(name: str, data: bytes) -> Attachment:
    return Attachment(name, len(data), hashlib.sha256(data).hexdigest(), "image/png")


def submit(job: str = "j", *files: bytes, **options: Any) -> Submit:
    named = tuple(attachment(f"file{n}", data) for n, data in enumerate(files or (IMAGE, MASK)))
    return Submit(job=job, kind="img2img", tail=PARAMS, attachments=named, **options)


async def send_all(client: RawClient, stream: int, data: bytes = IMAGE + MASK) -> None:
    """All bytes, as fast as the server's credit allows."""
    client.connection.send_data(stream, data, end=True)
    async with asyncio.timeout(10):
        while client.connection.unsent(stream):
            await client.flush()
            if client.connection.unsent(stream):
                await client.read()
    await client.flush()


async def begin(client: RawClient, jobs: MemoryJobs, message: Submit) -> int:
    """The stream of an upload that Jobs waits for."""
    before = len(jobs.uploads)
    (stream,) = await client.open(message)
    await jobs.until(lambda: len(jobs.uploads) > before)
    return stream
