"""Handlers for those who look after the server: is it alive, is it ready, what does it do."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from pixwire_server.doors.http import openapi, problems
from pixwire_server.doors.http.console.feed import WAITING
from pixwire_server.doors.http.console.handlers import check_admin
from pixwire_server.doors.http.desk import Call, Desk, JsonResponse
from pixwire_server.doors.http.metrics import Metrics
from pixwire_server.jobs import AdminCommand


def look(desk: Desk, limit: int = 1) -> Mapping[str, Any]:
    """The server now. Its answer is always there at once."""
    return desk.jobs.admin.perform(AdminCommand("overview", limit=limit), "the HTTP door").result()


async def healthz(desk: Desk) -> Response:
    """GET /healthz: 200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


async def readyz(desk: Desk) -> Response:
    """GET /readyz: 200 when a job that comes now is taken and an engine is there to run it; else 503 and why."""
    now = look(desk)
    why = [f"the engine is {now['engine']['state']}"] if now["engine"]["state"] != "ready" else []
    why += [word for word in ("paused", "draining") if now[word]]
    return JsonResponse({"status": "not ready", "why": why}, 503) if why else JsonResponse({"status": "ready"})


async def metrics(call: Call, series: Metrics) -> Response:
    """GET /metrics."""
    body, media_type = series.text(call.request.headers.get("accept"))
    return Response(body, 200, {"cache-control": "no-store", "content-type": media_type})


async def document(desk: Desk) -> Response:
    """GET /openapi.json."""
    models = desk.jobs.models()
    if desk.document is None or desk.document[0] != models:
        made = openapi.document(models, asks=not desk.porter.asks_nobody)
        desk.document = models, problems.to_json(made)
    return Response(desk.document[1], 200, {"cache-control": "no-cache"}, "application/json")


async def overview(call: Call) -> Response:
    """GET /v1/overview, for admins."""
    check_admin(call)
    return JsonResponse(look(call.desk, WAITING))
