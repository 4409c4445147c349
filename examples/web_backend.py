"""A web backend that makes images: FastAPI in front, a pixwire server behind.

    PIXWIRE_URL=pixwires://images.internal PIXWIRE_TOKEN=pxw_... uvicorn web_backend:app

POST /image             makes an image and answers with it; a browser that leaves before cancels the job
POST /jobs              accepts a job: 202 when it is on the server's disk. `Idempotency-Key` makes repeating it safe
GET  /jobs/ID/events    server-sent events: state, progress, preview, then `end`
GET  /jobs/ID/image     the image, once it is done
DELETE /jobs/ID         cancels
"""

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

import pixwire

URL = os.environ.get("PIXWIRE_URL", "pixwire://localhost")
ALIVE_SECONDS = 15.0  # proxies cut what is silent for longer, and writing is how a server notices that a browser left


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One client for the whole process: its connection carries any number of calls and comes back by itself."""
    async with pixwire.connect(URL, token=os.environ.get("PIXWIRE_TOKEN")) as client:
        app.state.pixwire = client
        yield


app = FastAPI(title="Images", lifespan=lifespan)


async def client_of(request: Request) -> pixwire.AsyncClient:
    client: pixwire.AsyncClient = request.app.state.pixwire
    return client


Server = Annotated[pixwire.AsyncClient, Depends(client_of)]


class Order(BaseModel):
    """What visitors may ask for. What is not here they cannot set: the model, priorities, sizes that cost much."""

    prompt: str = Field(min_length=1, max_length=500)
    steps: int | None = Field(default=None, ge=1, le=50)
    seed: int | None = None


@app.post("/image")
async def image(order: Order, request: Request, server: Server) -> Response:
    job = await server.submit(**order.model_dump(), priority="high", deadline=60.0, tags=["web"])
    made = await unless_gone(request, job)
    return Response(made.data, media_type=made.media_type, headers={"x-seed": str(made.seed)})


async def unless_gone(request: Request, job: pixwire.AsyncJob) -> pixwire.Image:
    """The job's image. When the browser leaves first the job is cancelled: nobody would see it."""
    making, leaving = asyncio.ensure_future(job.image()), asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait((making, leaving), return_when=asyncio.FIRST_COMPLETED)
        if making.done():
            return making.result()
        making.cancel()  # first: what it would raise now, nobody wants to know
        await job.cancel("the browser left")
        raise LeftError
    finally:
        making.cancel()
        leaving.cancel()


async def gone(request: Request) -> None:
    """Returns when the browser has left. The body was read before, so nothing else is to be received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class LeftError(Exception):
    """There is nobody to answer."""


@app.post("/jobs", status_code=202)
async def submit(
    order: Order, server: Server, idempotency_key: Annotated[str | None, Header()] = None
) -> dict[str, Any]:
    job_id = None
    if idempotency_key is not None:  # the same key is the same job, so a browser may send it again after a lost answer
        job_id = f"web-{hashlib.sha256(idempotency_key.encode()).hexdigest()[:40]}"
    job = await server.submit(**order.model_dump(), job_id=job_id, tags=["web"])
    return {"job": job.id, "events": f"/jobs/{job.id}/events", "image": f"/jobs/{job.id}/image"}


@app.get("/jobs/{job_id}/events")
async def events(job_id: str, server: Server) -> StreamingResponse:
    job = server.job(job_id)
    await job.status()  # an unknown job is a 404, which a stream that has begun could not say any more
    return StreamingResponse(told(job), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def told(job: pixwire.AsyncJob) -> AsyncIterator[str]:
    """The events of a job as text/event-stream. A browser that leaves ends the watching, not the job."""
    async with job.events(previews=True) as heard:
        while True:
            try:
                event = await asyncio.wait_for(anext(heard), ALIVE_SECONDS)  # cancelling `anext` loses no event
            except TimeoutError:
                yield ": alive\n\n"
            except StopAsyncIteration:
                return
            except pixwire.PixwireError as error:
                yield sse("error", {"error": str(error)})
                return
            else:
                yield told_as(event)


def told_as(event: pixwire.Event) -> str:
    match event:
        case pixwire.Progress():
            return sse("progress", {"step": event.step, "steps": event.steps})
        case pixwire.Preview(image=picture):
            data = base64.b64encode(picture.data).decode()
            return sse("preview", {"step": event.step, "src": f"data:{picture.media_type};base64,{data}"})
        case pixwire.StateChange(status=status):
            error = None if status.error is None else status.error.message
            return sse("end" if status.state.terminal else "state", {"state": status.state, "error": error})


def sse(kind: str, data: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


@app.get("/jobs/{job_id}/image")
async def job_image(job_id: str, server: Server) -> Response:
    made = await server.job(job_id).image(timeout=30.0)
    headers = {"cache-control": "public, max-age=86400, immutable"}  # a job's image never changes
    return Response(made.data, media_type=made.media_type, headers=headers)


@app.delete("/jobs/{job_id}")
async def cancel(job_id: str, server: Server) -> dict[str, str]:
    return {"state": (await server.job(job_id).cancel("the visitor wants it no more")).state}


STATUS_CODES: dict[type[pixwire.PixwireError], int] = {
    pixwire.InvalidArgument: 422,
    pixwire.JobNotFound: 404,
    pixwire.ArtifactNotFound: 404,
    pixwire.JobGone: 410,
    pixwire.JobConflict: 409,
    pixwire.JobCancelled: 409,
    pixwire.CapacityError: 503,  # QueueFull, QuotaExceeded, Paused, Draining, ...: with Retry-After
    pixwire.DeadlineExceeded: 503,
    pixwire.JobExpired: 503,
    pixwire.ConnectError: 503,
    pixwire.ConnectionLost: 503,
    pixwire.RequestTimeout: 504,
    pixwire.PixwireError: 502,  # a token that is not taken, a job that failed: not the visitor's fault
}


@app.exception_handler(pixwire.PixwireError)
async def refused(request: Request, error: pixwire.PixwireError) -> JSONResponse:
    code = next(STATUS_CODES[kind] for kind in type(error).__mro__ if kind in STATUS_CODES)
    body: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, pixwire.InvalidArgument):
        body |= {"field": error.field, "allowed": error.allowed}
    headers = {}
    if isinstance(error, pixwire.CapacityError):
        headers["retry-after"] = str(-(-(error.retry_after_ms or 1000) // 1000))  # whole seconds, rounded up
    return JSONResponse(body, code, headers)


@app.exception_handler(LeftError)
async def left(request: Request, error: LeftError) -> Response:
    return Response(status_code=499)  # never seen: only the access log has it
