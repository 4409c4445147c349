"""Handlers of the job resources: submit, status, list, cancel, follow, fetch."""

import time
from functools import partial

from starlette.responses import Response

from pixwire_protocol.forms import is_job_id
from pixwire_protocol.params import ATTACHMENTS
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.http import fields, job_requests, links, ranges, sse
from pixwire_server.doors.http.bodies import FORM, JSON, File, media_type, read_form, read_object, unsupported_type
from pixwire_server.doors.http.delivery import ArtifactResponse, submit
from pixwire_server.doors.http.desk import Call, EventStream, JsonResponse, Write, new_id
from pixwire_server.doors.http.follow import Follow, ask
from pixwire_server.doors.http.problems import http_error
from pixwire_server.jobs import RequestError, StateChanged

REQUEST = "request"
"""The part of a form that says what JSON says without files."""


async def create(call: Call) -> Response:
    """POST /v1/jobs: 201 for a new job, 200 for one that was known."""
    settings = call.desk.settings
    kind = media_type(call.request)
    if kind == JSON:
        return await _create(call, await read_object(call.request, settings.max_json), ())
    if kind != FORM:
        raise unsupported_type(kind, JSON, FORM)
    names = tuple(ATTACHMENTS)
    with call.desk.room_for(call.request, len(names) * settings.max_upload + settings.max_json):
        async with read_form(call.request, names, settings.max_upload, settings.max_json) as form:
            fields.only(form.texts, (REQUEST,))
            request = form.texts.get(REQUEST)
            if not isinstance(request, str):
                raise fields.wrong(REQUEST, request, "a JSON object with kind and params")
            values = fields.parse_object(request.encode(errors="replace"), REQUEST)
            return await _create(call, values, tuple(form.files.values()))


async def _create(call: Call, values: dict[str, object], files: tuple[File, ...]) -> Response:
    headers = call.request.headers
    wanted = job_requests.new_job(values, headers.get("idempotency-key"), [file.name for file in files])
    job = wanted.job or new_id()
    trace = fields.trace(headers.get("traceparent"), headers.get("tracestate"))
    submitted = await submit(call, job, wanted.kind, wanted.tail, wanted.terms, trace, files)
    body = submitted.status.to_map() | {"duplicate": submitted.duplicate}
    return JsonResponse(body, 200 if submitted.duplicate else 201, {"location": f"/v1/jobs/{job}"})


async def listed(call: Call) -> Response:
    """GET /v1/jobs."""
    page = job_requests.page(call.query)
    found = await ask(call.desk.jobs.list_jobs(call.principal, page.limit, page.after, page.states, page.tag))
    body: dict[str, object] = {"jobs": [job.to_map() for job in found.jobs]}
    return JsonResponse(body if found.next is None else body | {"next": found.next})


async def status(call: Call) -> Response:
    """GET /v1/jobs/{job}."""
    return JsonResponse((await ask(call.desk.jobs.status(call.principal, _job(call)))).to_map())


async def cancel(call: Call) -> Response:
    """DELETE /v1/jobs/{job}: 200 when it has ended, 202 while it still runs."""
    reason = job_requests.reason(call.query)
    found = await ask(call.desk.jobs.cancel(call.principal, _job(call), reason))
    return JsonResponse(found.to_map(), 200 if found.state.terminal else 202)


async def events(call: Call) -> Response:
    """GET /v1/jobs/{job}/events. The snapshot comes first, unless the client has seen it; 204 for one that has seen the
    end, which tells browsers not to come back.
    """
    want, job = job_requests.want(call.query), _job(call)
    seen = sse.last_seen(call.request.headers.get("last-event-id"))
    now = await ask(call.desk.jobs.status(call.principal, job, with_params=False))
    if now.state.terminal and seen >= now.seq:
        return Response(None, 204, {"cache-control": "no-store"})
    return EventStream(call.desk, partial(_tell, call, job, want, seen))


async def _tell(call: Call, job: str, want: frozenset[str], seen: int, follow: Follow, write: Write) -> None:
    jobs, beat_s = call.desk.jobs, call.desk.settings.beat_s
    await write(sse.HELLO)
    try:
        watch = await ask(jobs.watch(call.principal, job, follow.tell, want))
    except RequestError:
        return  # it is gone since a moment ago; whoever comes again is told so
    try:
        over = watch.snapshot.state.terminal
        if watch.snapshot.seq > seen:
            await write(sse.job_event(StateChanged(watch.snapshot)))
        while not over:
            told = await follow.take(beat_s)
            if call.guard.recheck(time.time()) is not None:
                return  # the credentials hold no more
            if not told:
                await write(sse.BEAT)
            for one in told:
                await write(sse.job_event(one))
                over = isinstance(one, StateChanged) and one.status.state.terminal
    finally:
        watch.close()


async def artifact(call: Call) -> Response:
    """GET or HEAD /v1/jobs/{job}/artifacts/{index}: the image itself."""
    job, index = _job(call), _index(call)
    headers = call.request.headers
    found = await ask(call.desk.jobs.artifact(call.principal, job, index))
    try:
        info = found.info
        about = {
            "etag": f'"{info.etag}"',
            "accept-ranges": "bytes",
            "cache-control": "private, no-cache",
            "x-content-type-options": "nosniff",
            "x-pixwire-seed": str(info.seed),
            "x-pixwire-size": f"{info.width}x{info.height}",
        }
        if (match := headers.get("if-match")) is not None and not ranges.matches(match, info.etag, weak=False):
            message = f"artifact {index} of job {job!r} has another etag; fetch it without If-Match"
            raise RequestError(ErrorCode.ARTIFACT_CHANGED, message, {"field": "If-Match", "allowed": info.etag})
        if ranges.matches(headers.get("if-none-match"), info.etag, weak=True):
            found.close()
            return Response(None, 304, about)
        asked = headers.get("range") if call.request.method == "GET" else None  # ranges are for GET only
        span = ranges.span(asked, info.size, headers.get("if-range"), info.etag)
        if span is None:
            message = f"Range: the image has {info.size} bytes; ask for some of them"
            details = {"field": "Range", "value": headers["range"][:64], "allowed": f"within {info.size} bytes"}
            about_all = {"content-range": f"bytes */{info.size}"}
            raise http_error(416, ErrorCode.OFFSET_OUT_OF_RANGE, message, details, about_all)
        return ArtifactResponse(found, span, about)
    except BaseException:
        found.close()
        raise


def linked_principal(path: dict[str, str], key: str, secret: bytes) -> str:
    """Whose image a link is good for. Raises RequestError(AUTH_FAILED)."""
    job, index = path.get("job", ""), path.get("index", "")
    whose = None
    if is_job_id(job) and index.isascii() and index.isdecimal() and len(index) <= 7:
        whose = links.verify(secret, key, job, int(index), time.time())
    if whose is None:
        raise RequestError(
            ErrorCode.AUTH_FAILED, "key: this link is wrong, or its time is over; ask for the image again"
        )
    return whose


def _job(call: Call) -> str:
    job: str = call.request.path_params["job"]
    return fields.job_id("job", job)


def _index(call: Call) -> int:
    text = call.request.path_params["index"]
    value = int(text) if text.isascii() and text.isdecimal() and len(text) <= 7 else text
    return fields.whole("index", value, 0, job_requests.MAX_INDEX)
