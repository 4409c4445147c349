"""A finished job with an image of any size, put into a data directory as a server would have left it."""

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path

from pixwire_protocol.params import GenerateParams, fingerprint
from pixwire_protocol.status import ArtifactInfo, JobState
from pixwire_server.jobs import model
from pixwire_server.store import open_store
from pixwire_server.store.ports import ARTIFACTS, FileRef

KIND = "txt2img"


async def _store(data_dir: Path, job_id: str, image: bytes) -> None:
    store = await open_store(data_dir)
    try:
        now_ms = time.time_ns() // 1_000_000
        params = GenerateParams("a large picture", seed=1)
        mark = fingerprint(KIND, params.pack())
        position = store.last_position + 1
        job = model.Job(position, "anonymous", job_id, KIND, mark, params, now_ms)
        await store.journal.create(model.to_row(job))
        (etag,) = await store.artifacts.put([image])
        done = ArtifactInfo(0, etag, len(image), "image/png", 1, 1, 1)
        ended = replace(job, state=JobState.SUCCEEDED, seq=3, finished_ms=now_ms, artifacts=(done,))
        await store.journal.update(model.to_row(ended), [FileRef(ARTIFACTS, etag, len(image))])
    finally:
        await store.close()


def store_job(data_dir: Path, job_id: str, size: int) -> bytes:
    """Keep a succeeded job whose artifact 0 has `size` incompressible bytes (no real image); returns them."""
    image = random.Random(size).randbytes(size)
    asyncio.run(_store(data_dir, job_id, image))
    return image
