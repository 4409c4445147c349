"""Handlers of the OpenAI-compatible API: images are made while the client waits, or streamed as they become."""

import time
from asyncio import to_thread
from collections.abc import Sequence
from functools import partial

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from pixwire_protocol.params import CONTROL, IMAGE, MASK, STYLE
from pixwire_protocol.registry import ERRORS, ErrorCode
from pixwire_protocol.status import JobState, JobStatus
from pixwire_server.doors.http import fields, masks, openai_answers, openai_requests, sse
from pixwire_server.doors.http.bodies import File, read_form, read_object
from pixwire_server.doors.http.delivery import images_body, links_body, opened, submit
from pixwire_server.doors.http.desk import Call, EventStream, JsonResponse, Write, new_id
from pixwire_server.doors.http.follow import EndedError, Follow, Why, ask, to_the_end, unheard
from pixwire_server.doors.http.openai_answers import Picture
from pixwire_server.doors.http.openai_requests import URL, Wish
from pixwire_server.doors.http.problems import HttpError, Problem, ended, refused
from pixwire_server.jobs import OpenArtifact, PreviewShown, RequestError, StateChanged

FILES = (IMAGE, MASK, CONTROL, STYLE)
DRAINING_RETRY_MS = 2_000


async def models(call: Call) -> Response:
    """GET /v1/models."""
    return JsonResponse(openai_answers.models(call.desk.jobs.models(), call.desk.began))


async def model(call: Call) -> Response:
    """GET /v1/models/{model}."""
    name = call.request.path_params["model"]
    infos = call.desk.jobs.models()
    for info in infos:
        if info.name == name:
            return JsonResponse(openai_answers.model(info, call.desk.began))
    names = [info.name for info in infos]
    message = f"model: {name[:64]!r} is not served here; this server serves {', '.join(names)}"
    details = {"field": "model", "value": name[:64], "allowed": names}
    raise HttpError(Problem(404, ErrorCode.INVALID_ARGUMENT, message, "no", "no", None, details))


async def generations(call: Call) -> Response:
    """POST /v1/images/generations."""
    values = await read_object(call.request, call.desk.settings.max_json)
    return await _make(call, openai_requests.generation(values), ())


async def edits(call: Call) -> Response:
    """POST /v1/images/edits."""
    settings = call.desk.settings
    with call.desk.room_for(call.request, len(FILES) * settings.max_upload + settings.max_json):
        async with read_form(call.request, FILES, settings.max_upload, settings.max_json) as form:
            if IMAGE not in form.files:
                raise fields.wrong(IMAGE, None, "a file: the picture to begin with")
            wish = openai_requests.edit(fields.from_form(form.texts), tuple(form.files))
            if MASK in form.files:
                async with call.desk.masks:
                    await form.files[MASK].change(masks.painted)
            submitted = await _submit(call, wish, tuple(form.files.values()))
    return await _deliver(call, wish, *submitted)


async def _make(call: Call, wish: Wish, files: Sequence[File]) -> Response:
    return await _deliver(call, wish, *await _submit(call, wish, files))


async def _submit(call: Call, wish: Wish, files: Sequence[File]) -> tuple[str, bool]:
    """The id of the job, and whether its client has a key to come back to it."""
    headers = call.request.headers
    key = headers.get("idempotency-key")
    job = new_id() if key is None else fields.keyed_id(key)
    trace = fields.trace(headers.get("traceparent"), headers.get("tracestate"))
    await submit(call, job, wish.kind, wish.tail, wish.terms, trace, files)
    return job, key is not None


async def _deliver(call: Call, wish: Wish, job: str, keyed: bool) -> Response:
    if wish.stream:
        return EventStream(call.desk, partial(_stream, call, wish, job, keyed))
    try:
        async with call.desk.following(call.request.receive) as follow:
            status = await to_the_end(call.desk.jobs, call.principal, job, follow)
    except EndedError as error:
        refusal = _given_up(call, job, keyed, error.why)
        raise (ClientDisconnect() if error.why is Why.GONE else refusal) from None
    if status.state is not JobState.SUCCEEDED:
        raise HttpError(_failure(status))
    body = links_body(call, status) if wish.form == URL else await images_body(call, status)
    return Response(body, 200, {"cache-control": "no-store", "x-pixwire-job": job}, "application/json")


def _given_up(call: Call, job: str, keyed: bool, why: Why) -> HttpError:
    """Nobody waits any more. A job that nobody can come back to is cancelled, and makes room."""
    message = f"{why.value}; the job goes on: send the request again, with the same Idempotency-Key"
    if not keyed:
        unheard(call.desk.jobs.cancel(call.principal, job, why.value))
        message = f"{why.value} and the job was cancelled; send the request again later"
    spec = ERRORS[ErrorCode.DRAINING]
    said = "yes" if keyed else "maybe"
    return HttpError(Problem(503, ErrorCode.DRAINING, message, spec.retry, said, DRAINING_RETRY_MS, {"job": job}))


def _failure(status: JobStatus) -> Problem:
    if status.error is None:
        return refused(RequestError(ErrorCode.INTERNAL, f"job {status.job} is {status.state} and does not say why"))
    return ended(status.error, status.job)


async def _stream(call: Call, wish: Wish, job: str, keyed: bool, follow: Follow, write: Write) -> None:
    """Pictures on the way, then the images; or the error that ended the job."""
    want = frozenset({"preview"} if wish.previews else ())
    try:
        watch = await ask(call.desk.jobs.watch(call.principal, job, follow.tell, want))
        try:
            status = await _follow(call, wish, watch.snapshot, follow, write)
        finally:
            watch.close()
        if status.state is not JobState.SUCCEEDED:
            await write(openai_answers.failed(_failure(status).to_openai()))
            return
        async with opened(call.desk.jobs, call.principal, status) as found:
            for one in found:
                await write(await to_thread(_completed, wish.operation, one, int(time.time())))
    except RequestError as error:
        await write(openai_answers.failed(refused(error, "yes").to_openai()))
    except EndedError as error:
        gone = _given_up(call, job, keyed, error.why)
        await write(openai_answers.failed(gone.problem.to_openai()))


def _completed(operation: str, image: OpenArtifact, created: int) -> bytes:
    return openai_answers.completed(operation, Picture(image.info, image.read()), created)


async def _follow(call: Call, wish: Wish, status: JobStatus, follow: Follow, write: Write) -> JobStatus:
    """Tell what is told until the job has ended; the state in which it did."""
    sent = 0
    while not status.state.terminal:
        told = await follow.take(call.desk.settings.beat_s)
        if not told:
            await write(sse.BEAT)
        for one in told:
            if isinstance(one, StateChanged):
                status = one.status
            elif isinstance(one, PreviewShown) and openai_requests.partial_due(
                one.step, one.steps, wish.previews, sent
            ):
                await write(openai_answers.partial(wish.operation, one, sent, int(time.time())))
                sent += 1
    return status
