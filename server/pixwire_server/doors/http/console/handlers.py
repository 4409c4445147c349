"""Handlers for operators: who am I, what happens, do this."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from pixwire_protocol.admin import ACTIONS
from pixwire_protocol.registry import ErrorCode
from pixwire_server.doors.http import fields, job_requests, sse
from pixwire_server.doors.http.bodies import JSON, media_type, read_object, unsupported_type
from pixwire_server.doors.http.console.feed import WANTS, Feed
from pixwire_server.doors.http.desk import Call, EventStream, JsonResponse, Write
from pixwire_server.doors.http.follow import Follow, ask
from pixwire_server.jobs import AdminCommand, RequestError

MAX_NAME: Final = 256
MAX_PATH: Final = 4096
MAX_LIMIT: Final = 1000
_LENGTHS: Final[Mapping[str, int]] = {"principal": MAX_NAME, "model": MAX_NAME, "path": MAX_PATH, "reason": MAX_NAME}


async def me(call: Call) -> Response:
    """GET /v1/me: whose request this is, and what it may do."""
    left_ms = call.identity.left_ms(time.time())
    body: dict[str, Any] = {
        "principal": call.principal,
        "roles": call.identity.roles,
        "mechanisms": call.guard.mechanisms,
    }
    return JsonResponse(body if left_ms is None else body | {"expires_ms": left_ms})


async def operate(call: Call) -> Response:
    """POST /v1/admin: one action of ADMIN (SPEC 8.19.1), for admins."""
    check_admin(call)
    kind = media_type(call.request)
    if kind != JSON:
        raise unsupported_type(kind, JSON)
    values = await read_object(call.request, call.desk.settings.max_json)
    done = await ask(call.desk.jobs.admin.perform(command(values), call.principal))
    return JsonResponse(done)


def command(values: Mapping[str, Any]) -> AdminCommand:
    """The action that is asked for. Fields that it does not take are ignored, as on the wire. Raises RequestError."""
    fields.only(values, ("action", "job", *_LENGTHS, "limit"))
    given = {name: value for name, value in values.items() if value is not None}
    fields.choice("action", given.get("action"), tuple(ACTIONS))
    for name, most in _LENGTHS.items():
        if name in given:
            _short(name, given[name], most, 0 if name == "reason" else 1)
    if "job" in given:
        fields.job_id("job", given["job"])
    if "limit" in given:
        fields.whole("limit", given["limit"], 1, MAX_LIMIT)
    return AdminCommand(**given)


def _short(name: str, value: Any, most: int, least: int) -> None:
    try:
        size = len(value.encode()) if isinstance(value, str) else -1
    except UnicodeEncodeError:  # half a surrogate pair: JSON can say it, the journal cannot keep it
        size = -1
    if not least <= size <= most:
        raise fields.wrong(name, value, f"a string of {least} to {most} bytes of UTF-8")


async def overview_events(call: Call, feed: Feed) -> Response:
    """GET /v1/overview/events, for admins: the overview every second, and what `want` names beside it."""
    check_admin(call)
    return EventStream(call.desk, partial(_tell, call, feed, job_requests.want(call.query, WANTS)))


async def _tell(call: Call, feed: Feed, want: frozenset[str], follow: Follow, write: Write) -> None:
    await write(sse.HELLO)
    with feed.viewing(follow, want) as viewer:
        while call.guard.recheck(time.time()) is None:
            news = viewer.news()
            if news:
                await write(news)
            await follow.take()


def check_admin(call: Call) -> None:
    """Refuse whoever does not look after this server."""
    if not call.identity.is_admin:
        message = (
            f"this needs the role admin, which {call.principal!r} does not have here; a token has it by"
            ' roles = ["admin"] in the list of tokens, a name by the setting admins'
        )
        raise RequestError(ErrorCode.FORBIDDEN, message, {"field": "role", "allowed": "admin"})
