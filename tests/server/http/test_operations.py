"""For those who look after the server: health, readiness, metrics, the document."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from held_engine import HeldEngine
from http_server import PARAMS_TAIL, HttpServer, StartHttp, ended, submit
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families
from toy_engine import ToyEngine

from pixwire_protocol.messages import Admin, Status, Submit, Watch
from pixwire_server.doors.http.counts import Times
from pixwire_server.engine import api

NAME = re.compile(r"\b(?:pixwire|process)_[a-z_]+")
HISTOGRAM = re.compile(r"_(?:bucket|sum|count)$")
BY = re.compile(r"by \(([^)]*)\)")
SELECTED = re.compile(r"[{,](\w+)[=!]~?\"")
NOT_SHOWN = {
    "pixwire_uptime_seconds",
    "pixwire_paused",
    "pixwire_draining",
    "pixwire_engine_state",
    "pixwire_engine_passes_total",
    "pixwire_step_milliseconds",
}
"""For alerts, or told in another way by the board."""


async def samples(client: httpx.AsyncClient) -> dict[str, float]:
    """Every series by its name and labels."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        f"{one.name}{dict(sorted(one.labels.items())) or ''}": one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
    }


async def test_requests_and_jobs_are_counted(server: HttpServer, client: httpx.AsyncClient) -> None:
    for number in range(3):
        await submit(client, f"j{number}")
        await ended(client, f"j{number}")
    await client.get("/v1/jobs/none")
    await client.get("/nothing/at/all")
    await client.request("BREW", "/v1/jobs")
    found = await samples(client)
    ask = "pixwire_http_requests_total"
    assert found[f"{ask}{ {'method': 'POST', 'route': '/v1/jobs', 'status': '201'} }"] == 3
    assert found[f"{ask}{ {'method': 'GET', 'route': '/v1/jobs/{job}', 'status': '404'} }"] == 1
    assert found[f"{ask}{ {'method': 'GET', 'route': 'other', 'status': '404'} }"] == 1
    assert found[f"pixwire_jobs_ended_total{ {'kind': 'txt2img', 'state': 'succeeded'} }"] == 3
    assert found[f"pixwire_job_seconds_count{ {'phase': 'run'} }"] == 3
    assert found[f"pixwire_connections{ {'door': 'http'} }"] == 1
    assert found[f"pixwire_connections{ {'door': 'pxw'} }"] == 0
    assert found[f"pixwire_engine_state{ {'state': 'ready'} }"] == 1
    assert found["pixwire_http_received_bytes_total"] > 0
    assert found["pixwire_http_sent_bytes_total"] > 0
    assert found["pixwire_queue_limit_jobs"] == 1000
    assert found["pixwire_engine_restarts_total"] == 0


async def test_the_queue_and_the_passes_are_seen(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine(), max_resident=1)
    client = await server.client()
    await submit(client, "runs")
    await engine.wait(engine.started)
    for number in range(3):
        await submit(client, f"w{number}")
    one = api.Pass(1, "denoise", "64x64", 2, 4096, 8.0, (engine.tasks[0].handle,))
    engine.report(api.Passed((one,)))
    found = await samples(client)
    assert found[f"pixwire_queue_jobs{ {'priority': 'normal'} }"] == 3
    assert found["pixwire_jobs_running"] == 1
    assert found["pixwire_queue_oldest_seconds"] >= 0
    assert found[f"pixwire_pass_rows_sum{ {'stage': 'denoise'} }"] == 2
    assert found[f"pixwire_pass_seconds_count{ {'stage': 'denoise'} }"] == 1
    assert found["pixwire_batch_rows"] == 2
    assert found["pixwire_step_milliseconds"] == 8.0


async def test_openmetrics_is_spoken_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_a_server_that_takes_no_jobs_is_not_ready(server: HttpServer, client: httpx.AsyncClient) -> None:
    assert (await client.get("/readyz")).json() == {"status": "ready"}
    operator = await server.connect()
    (stream,) = await operator.open(Admin("pause", reason="cleaning"))
    await operator.last(stream)
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["why"]) == (503, ["paused"])
    assert (await client.get("/healthz")).status_code == 200
    operator.close()


async def test_every_path_of_the_document_is_there(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    paths = answer.json()["paths"]
    assert answer.json()["openapi"].startswith("3.1")
    for path in paths:
        assert (await client.request("OPTIONS", path.replace("{", "").replace("}", ""))).status_code == 405, path
    assert (await client.get("/openapi.json")).content == answer.content


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS"])
async def test_another_method_is_refused_with_those_there_are(client: httpx.AsyncClient, method: str) -> None:
    answer = await client.request(method, "/v1/jobs")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


async def test_an_engine_that_is_gone_is_no_ready_server(start_http: StartHttp) -> None:
    server = start_http(engine := ToyEngine())
    client = await server.client()
    assert (await client.get("/readyz")).status_code == 200
    engine.ready = False
    engine.kill()
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["why"][0].startswith("the engine is ")


async def test_requests_over_pxw_are_counted_by_frame_and_outcome(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine(), max_resident=1)
    pxw, web = await server.connect(), await server.client()
    await pxw.last((await pxw.open(Submit(job="j", kind="txt2img", tail=PARAMS_TAIL)))[0])
    for _ in range(3):
        await pxw.last((await pxw.open(Status(job="j")))[0])
    await pxw.error((await pxw.open(Status(job="none")))[0])
    (stream,) = await pxw.open(Watch(job="j"))
    await pxw.body(stream)
    pxw.connection.reset(stream)
    await pxw.flush()
    await pxw.last((await pxw.open(Status(job="j")))[0])  # the RESET was read before this
    leaves = await server.connect()
    await leaves.body((await leaves.open(Watch(job="j")))[0])
    before = await samples(web)
    leaves.reset()
    asked = "pixwire_pxw_requests_total"
    lost = f"{asked}{ {'outcome': 'lost', 'type': 'WATCH'} }"
    async with asyncio.timeout(10):
        while lost not in (found := await samples(web)):
            pass
    counts = {name.removeprefix(asked): value for name, value in found.items() if name.startswith(asked) and value}
    assert counts == {
        f"{ {'outcome': 'ok', 'type': 'SUBMIT'} }": 1,
        f"{ {'outcome': 'ok', 'type': 'STATUS'} }": 4,
        f"{ {'outcome': 'JOB_NOT_FOUND', 'type': 'STATUS'} }": 1,
        f"{ {'outcome': 'reset', 'type': 'WATCH'} }": 1,
        f"{ {'outcome': 'lost', 'type': 'WATCH'} }": 1,
    }
    assert found["pixwire_pxw_sent_bytes_total"] >= pxw.received_bytes
    assert before["pixwire_pxw_received_bytes_total"] > 0
    assert found[f"pixwire_connections_accepted_total{ {'door': 'pxw'} }"] == 2
    assert found[f"pixwire_connections{ {'door': 'pxw'} }"] == 1
    assert found[f"pixwire_connections_accepted_total{ {'door': 'http'} }"] >= 1
    assert engine.tasks
    pxw.close()


async def test_a_pxw_connection_that_broke_the_protocol_is_counted(
    server: HttpServer, client: httpx.AsyncClient
) -> None:
    pxw = await server.connect()
    await pxw.send_bytes(b"\xff" * 64)
    await pxw.closed()
    pxw.close()
    found = await samples(client)
    assert sum(value for name, value in found.items() if name.startswith("pixwire_pxw_connections_ended_total")) == 1


def test_times_are_counted_as_prometheus_would() -> None:
    registry = CollectorRegistry()
    theirs, ours = Histogram("x", "x", buckets=(0.1, 1.0), registry=registry), Times((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
        theirs.observe(seconds)
        ours.add(seconds)
    (family,) = registry.collect()
    buckets = [(one.labels["le"], one.value) for one in family.samples if one.name == "x_bucket"]
    total = next(one.value for one in family.samples if one.name == "x_sum")
    assert ours.buckets() == (buckets, total)


# ---------------------------------------------------------------------- the board


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(__file__).parents[3] / "server" / "deploy" / "grafana.json").read_text())
    return found


async def test_the_board_shows_series_that_there_are(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    await submit(client)
    await engine.wait(engine.started)
    engine.report(api.Passed((api.Pass(1, "denoise", "64x64", 2, 4096, 8.0, (engine.tasks[0].handle,)),)))
    shown = {name for panel in board()["panels"] for one in panel["targets"] for name in NAME.findall(one["expr"])}
    answer = await client.get("/metrics")
    told = set(re.findall(r"^# HELP (\S+)", answer.text, re.MULTILINE))
    assert shown
    assert {name for name in shown if not told & {name, HISTOGRAM.sub("", name)}} == set()
    ours = {name for name in told if name.startswith("pixwire_") and not name.endswith("_created")}
    assert ours - {HISTOGRAM.sub("", name) for name in shown} - shown == NOT_SHOWN


async def test_the_labels_that_the_board_groups_by_are_there(start_http: StartHttp) -> None:
    """`sum by (le, route)`, `{status=~...}` and `{{route}}` of a legend: each is a label of the series it is about."""
    server = start_http(engine := HeldEngine())
    pxw, client = await server.connect(), await server.client()
    await pxw.error((await pxw.open(Status(job="none")))[0])
    await submit(client, "j")
    await engine.wait(engine.started)
    engine.report(api.Passed((api.Pass(1, "denoise", "64x64", 2, 4096, 8.0, (engine.tasks[0].handle,)),)))
    engine.finish(engine.tasks[0])
    await ended(client, "j")
    await pxw.send_bytes(b"\xff" * 64)
    await pxw.closed()
    pxw.close()
    labels = {"pixwire_cost_error_ratio": {"quantile"}}  # only once a time was foretold
    for family in text_string_to_metric_families((await client.get("/metrics")).text):
        for one in family.samples:
            labels.setdefault(one.name, set()).update(one.labels)
    for panel in board()["panels"]:
        for one in panel["targets"]:
            (name, *_) = NAME.findall(one["expr"])
            wanted = {word.strip() for group in BY.findall(one["expr"]) for word in group.split(",")}
            wanted |= set(SELECTED.findall(one["expr"])) | set(re.findall(r"{{(\w+)}}", one["legendFormat"]))
            assert wanted <= labels[name], (panel["title"], wanted, labels[name])


def test_the_board_is_what_grafana_imports() -> None:
    """The parts of https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""
    found = board()
    assert isinstance(found["schemaVersion"], int)
    assert found["title"]
    assert found["uid"]
    (source,) = found["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{source['name']}}}"}
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({one["refId"] for one in panel["targets"]}) == len(panel["targets"])
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
