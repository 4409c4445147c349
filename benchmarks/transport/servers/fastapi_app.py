"""FastAPI on uvicorn (uvloop, httptools), the way its documentation has it: typed bodies, pydantic answers."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from benchmarks.transport.servers import asgi
from benchmarks.transport.servers.common import options
from benchmarks.transport.work import Board

app = FastAPI(openapi_url=None)
board = Board()


class Params(BaseModel):
    """What may be asked for."""

    prompt: str
    seed: int | None = None
    steps: int | None = None


class NewJob(BaseModel):
    """The body of a submit."""

    params: Params


class AllParams(Params):
    """The parameters of a job, with what was filled in."""

    negative_prompt: str
    model: str
    width: int
    height: int
    guidance_scale: float
    count: int
    media_type: str


class Status(BaseModel):
    """The answer to submit and status."""

    job: str
    kind: str
    state: str
    seq: int
    attempt: int
    step: int
    steps: int
    seed: int
    queue_position: int
    params: AllParams
    eta_ms: int


class Inline(BaseModel):
    """An image inside JSON."""

    b64_json: str


@app.post("/v1/jobs", status_code=201)
async def submit(new: NewJob) -> Status:
    return Status.model_validate(board.submit(new.params.model_dump(exclude_none=True)))


@app.get("/v1/jobs/{job}")
async def status(job: str) -> Status:
    return Status.model_validate(found(board.status(job)))


@app.get("/v1/jobs/{job}/events")
async def events(job: str) -> StreamingResponse:
    return StreamingResponse(follow(found(board.status(job))), media_type="text/event-stream")


@app.get("/v1/jobs/{job}/artifacts/0")
async def fetch(job: str) -> Response:
    return Response(found(board.image(job)), media_type="image/png")


@app.get("/v1/jobs/{job}/artifacts/0/base64")
async def fetch_inline(job: str) -> Inline:
    return Inline(b64_json=base64.b64encode(found(board.image(job))).decode())


async def follow(state: dict[str, Any]) -> AsyncIterator[bytes]:
    """The present state, and then nothing."""
    yield asgi.event(state)
    await asyncio.get_running_loop().create_future()


def found(thing: Any) -> Any:
    """The thing, or 404."""
    if thing is None:
        raise HTTPException(404)
    return thing


if __name__ == "__main__":
    asgi.run(app, options(__doc__))
