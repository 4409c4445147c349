"""The table of routes, and what every request goes through: who asks, which page sent it, what is counted, and how a
refusal or a defect is said.
"""

import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from email.utils import formatdate
from functools import partial
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.auth import Guard, Identity
from pixwire_server.doors.http import images, job_requests, job_routes, operations, origins, problems
from pixwire_server.doors.http.callers import Caller
from pixwire_server.doors.http.console import handlers as console
from pixwire_server.doors.http.console.feed import Feed
from pixwire_server.doors.http.console.pages import pages
from pixwire_server.doors.http.desk import Call, Desk, Handler
from pixwire_server.doors.http.metrics import OTHER, Metrics
from pixwire_server.doors.http.problems import HttpError, Problem, http_error, refused
from pixwire_server.doors.http.protocol import CALLER
from pixwire_server.jobs import RequestError, incident

log = logging.getLogger(__name__)

_OPENAI: Final = ("/v1/images/", "/v1/models")
ROUTE: Final = "pixwire.route"
"""Where the scope of a request says which route it took."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_ONCE: Final = frozenset({b"host", b"origin", b"authorization", b"content-type", b"idempotency-key"})
"""Header fields that decide who asks for what. What is there twice could mean one thing here and another elsewhere."""
CLIENT_GONE: Final = 499
"""What is counted for an answer that nobody waited for."""

# Method, path, handler. Those of the first table know who asks. Looked through in this order: the busiest first.
_CALLS: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/v1/jobs/{job}", job_routes.status),
    ("DELETE", "/v1/jobs/{job}", job_routes.cancel),
    ("GET", "/v1/jobs", job_routes.listed),
    ("POST", "/v1/jobs", job_routes.create),
    ("GET", "/v1/jobs/{job}/artifacts/{index}", job_routes.artifact),
    ("GET", "/v1/jobs/{job}/events", job_routes.events),
    ("POST", "/v1/images/generations", images.generations),
    ("POST", "/v1/images/edits", images.edits),
    ("GET", "/v1/models", images.models),
    ("GET", "/v1/models/{model:path}", images.model),
    ("GET", "/v1/me", console.me),
    ("GET", "/v1/overview", operations.overview),
    ("POST", "/v1/admin", console.operate),
)
_OPEN: Final[tuple[tuple[str, str, Callable[[Desk], Awaitable[Response]]], ...]] = (
    ("GET", "/healthz", operations.healthz),
    ("GET", "/readyz", operations.readyz),
    ("GET", "/openapi.json", operations.document),
)


def make_app(desk: Desk, metrics: Metrics, feed: Feed, names: Collection[str]) -> ASGIApp:
    """The application. `names` are the host names that the operator gave to the listeners; it may grow."""
    calls: dict[tuple[str, str], Handler] = {(method, path): handler for method, path, handler in _CALLS}
    calls["GET", "/metrics"] = partial(operations.metrics, series=metrics)
    calls["GET", "/v1/overview/events"] = partial(console.overview_events, feed=feed)
    by_path: dict[str, dict[str, Callable[[Request], Awaitable[Response]]]] = {}
    for (method, path), handler in calls.items():
        by_path.setdefault(path, {})[method] = partial(_call, desk, handler)
    for method, path, open_handler in _OPEN:
        by_path.setdefault(path, {})[method] = partial(_open, desk, open_handler)
    for path, page in pages().items():
        by_path[path] = {"GET": page.answer}
    routes = [Route(path, _Resource(path, table), methods=list(table)) for path, table in by_path.items()]
    return _Front(Router(routes, redirect_slashes=False), desk, metrics, names)


class _Resource:
    """One path, and what is done there by each method. An application of its own: what Starlette would put around a
    function is done once, in `_Front`.
    """

    def __init__(self, path: str, table: dict[str, Callable[[Request], Awaitable[Response]]]) -> None:
        self._path = path
        self._table = table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ROUTE] = self._path
        method = scope["method"]
        response = await self._table["GET" if method == "HEAD" else method](Request(scope, receive, send))
        await response(scope, receive, send)


async def _open(desk: Desk, handler: Callable[[Desk], Awaitable[Response]], request: Request) -> Response:
    return await _answered(request, handler(desk))


async def _call(desk: Desk, handler: Handler, request: Request) -> Response:
    return await _answered(request, _admitted(desk, handler, request))


async def _admitted(desk: Desk, handler: Handler, request: Request) -> Response:
    return await handler(Call(desk, request, _guard(desk, request)))


def _guard(desk: Desk, request: Request) -> Guard:
    """Who asks; for an image with a link's key, whoever the link was made for."""
    if request.scope[ROUTE].endswith("/artifacts/{index}"):
        key = job_requests.artifact_key(request.query_params.multi_items())
        if key is not None and not desk.porter.asks_nobody:
            path, secret = request.path_params, desk.settings.link_secret
            return Guard(None, Identity(job_routes.linked_principal(path, key, secret)))
    return desk.admit(request)


async def _answered(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer, or what is wrong as a problem."""
    try:
        return await answer
    except RequestError as error:
        return _said(request, refused(error))
    except HttpError as error:
        return _said(request, error.problem)
    except ClientDisconnect:
        return Response(None, CLIENT_GONE)
    except Exception as defect:
        return _said(request, refused(RequestError(ErrorCode.INTERNAL, incident(defect))))


def _said(request: Request, problem: Problem) -> Response:
    openai = request.url.path.startswith(_OPENAI)
    return Response(problem.body(openai=openai), problem.status, problem.headers, problems.MEDIA_TYPE)


def _not_here(request: Request, error: HTTPException) -> Response:
    """Starlette's own refusals: no such path, no such method there."""
    status, headers = error.status_code, dict(error.headers or {})
    path, method = request.url.path[:128], request.method[:16]
    if status == 405:
        message = f"{method}: {path} takes {headers.get('Allow', 'other methods')}"
    else:
        message = f"there is nothing at {path}; /openapi.json says what there is"
    return _said(
        request, http_error(status, ErrorCode.UNSUPPORTED, message, {"field": "path", "value": path}, headers).problem
    )


class _Front:
    """Around the application: whose page sent the request; and what is counted."""

    def __init__(self, router: Router, desk: Desk, metrics: Metrics, names: Collection[str]) -> None:
        self._router, self._desk, self._counts, self._names = router, desk, metrics.http, names
        self._stamp = _Stamp()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began, status, counts = time.monotonic(), CLIENT_GONE, self._counts

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *self._stamp.fields(time.time())]
            else:
                counts.sent += len(message.get("body", b""))
            await send(message)

        scope[ROUTE] = OTHER
        counts.in_progress += 1
        try:
            await self._app_for(scope)(scope, receive, counted)
        except Exception as defect:  # in the middle of an answer: all that is left is to cut it off
            log.error("%s %s was cut off: %s", scope["method"], scope[ROUTE], incident(defect))
            raise
        finally:
            counts.in_progress -= 1
            method = scope["method"]
            counts.ended(scope[ROUTE], method if method in _METHODS else OTHER, status, time.monotonic() - began)

    def _app_for(self, scope: Scope) -> Any:
        given: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _ONCE:
                if name in given:
                    return partial(_refuse, _twice(name.decode()))
                given[name] = value.decode("latin-1")
        host = given.get(b"host", "")
        if origins.is_foreign(given.get(b"origin"), host):
            return partial(_refuse, _unwelcome("this request comes from a page of another site"))
        caller: Caller = scope["state"].get(CALLER, Caller())
        if caller.local and self._desk.porter.asks_nobody and origins.is_rebound(host, self._names):
            why = "a server that asks nobody who he is answers to addresses and to localhost only"
            return partial(_refuse, _unwelcome(why))
        return self._route

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = (
            self  # Starlette's router raises its refusals where there is one, and writes them itself elsewhere
        )
        try:
            await self._router(scope, receive, send)
        except HTTPException as error:
            await _not_here(Request(scope, receive), error)(scope, receive, send)


class _Stamp:
    """What every answer has: its time, and a name under which people can talk about it."""

    def __init__(self) -> None:
        self._second, self._date = 0, b""

    def fields(self, now: float) -> tuple[tuple[bytes, bytes], ...]:
        """Header fields for an answer that begins at `now`."""
        if int(now) != self._second:  # written once a second: it costs more than all the rest of an answer's head
            self._second, self._date = int(now), formatdate(now, usegmt=True).encode()
        return (b"date", self._date), (b"x-request-id", b"%016x" % random.getrandbits(64))


def _unwelcome(why: str) -> Problem:
    return http_error(403, ErrorCode.FORBIDDEN, f"Origin, Host: {why}", {"field": "Origin, Host"}).problem


def _twice(name: str) -> Problem:
    return http_error(400, ErrorCode.INVALID_ARGUMENT, f"{name}: given twice; give it once", {"field": name}).problem


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    await _said(Request(scope, receive), problem)(scope, receive, send)
