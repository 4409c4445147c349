"""The job resources: submit, status, list, cancel, follow, fetch."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from held_engine import HeldEngine
from http_server import PROMPT, HttpServer, StartHttp, ended, events, problem, pxw_state, submit
from test_openai import png
from toy_engine import ToyEngine

TRACE = f"00-{'1' * 32}-{'2' * 16}-01"


async def test_a_job_from_submit_to_image(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jobs", json={"params": PROMPT, "tags": ["a"]}, headers={"traceparent": TRACE})
    assert answer.status_code == 201
    job = answer.json()["job"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    assert answer.json()["traceparent"] == TRACE
    status = await ended(client, job)
    assert (status["state"], status["seed"], status["tags"]) == ("succeeded", 7, ["a"])
    now = (await client.get(f"/v1/jobs/{job}")).json()
    assert now["params"]["prompt"] == "a red circle"
    image = await client.get(f"/v1/jobs/{job}/artifacts/0")
    assert (image.status_code, image.content, image.headers["content-type"]) == (200, b"toy image", "image/png")
    assert image.headers["etag"] == f'"{status["artifacts"][0]["etag"]}"'


async def test_both_doors_know_the_same_jobs(server: HttpServer, client: httpx.AsyncClient) -> None:
    await submit(client, "shared")
    await ended(client, "shared")
    assert await pxw_state(server, "shared") == "succeeded"


async def test_the_same_key_is_the_same_job(client: httpx.AsyncClient, server: HttpServer) -> None:
    key = {"idempotency-key": "order 66"}
    first, again = [await client.post("/v1/jobs", json={"params": PROMPT}, headers=key) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job"] == again.json()["job"]
    assert (first.json()["duplicate"], again.json()["duplicate"]) == (False, True)
    other = await client.post("/v1/jobs", json={"params": PROMPT | {"seed": 8}}, headers=key)
    assert other.status_code == 409
    assert problem(other)["title"] == "JOB_CONFLICT"
    assert len(server.engine.tasks) == 1


async def test_a_job_with_a_file_is_a_form(client: httpx.AsyncClient, server: HttpServer) -> None:
    request = {"kind": "img2img", "params": PROMPT | {"strength": 0.5}, "job": "f"}
    files = {"request": (None, json.dumps(request), "application/json"), "image": ("a.png", png(), "image/png")}
    answer = await client.post("/v1/jobs", files=files)
    assert answer.status_code == 201, answer.text
    assert (await ended(client, "f"))["state"] == "succeeded"
    assert server.engine.tasks[0].kind == "img2img"
    assert (await client.post("/v1/jobs", files=files)).status_code == 200


async def test_jobs_are_listed_page_by_page(client: httpx.AsyncClient) -> None:
    for number in range(5):
        await submit(client, f"j{number}")
        await ended(client, f"j{number}")
    seen, after = [], {}
    while True:
        page = (await client.get("/v1/jobs", params={"limit": 2, "states": "succeeded,failed", **after})).json()
        seen += [job["job"] for job in page["jobs"]]
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert seen == ["j4", "j3", "j2", "j1", "j0"]
    assert (await client.get("/v1/jobs", params={"states": "queued"})).json() == {"jobs": []}


async def test_a_job_is_cancelled(start_http: StartHttp) -> None:
    client = await start_http(engine := HeldEngine(), max_resident=1).client()
    await submit(client, "runs")
    await engine.wait(engine.started)
    await submit(client, "waits")
    waits = await client.delete("/v1/jobs/waits", params={"reason": "not needed"})
    assert (waits.status_code, waits.json()["state"]) == (200, "cancelled")
    assert waits.json()["error"]["message"] == "not needed"
    runs = await client.delete("/v1/jobs/runs")
    assert runs.status_code in (200, 202)
    assert (await ended(client, "runs"))["state"] == "cancelled"


# ---------------------------------------------------------------------- events


async def test_a_job_is_followed_and_the_following_resumed(start_http: StartHttp) -> None:
    client = await start_http(engine := HeldEngine()).client()
    await submit(client, "j")
    await engine.wait(engine.started)
    url = "/v1/jobs/j/events"
    async with client.stream("GET", url, params={"want": "progress,preview"}) as stream:
        told = aiter(events(stream))
        first = await anext(told)
        assert (first["event"], first["data"]["state"]) == ("state", "running")
        await engine.wait(engine.watched)
        engine.preview(1)
        preview = await anext(told)
        assert (preview["event"], preview["data"]["media_type"]) == ("preview", "image/jpeg")
    seen = {"last-event-id": preview["id"]}
    async with client.stream("GET", url, headers=seen) as stream:
        told = aiter(events(stream))
        engine.finish(engine.tasks[0])
        rest = [event async for event in told]
    assert [event["data"]["state"] for event in rest] == ["succeeded"]
    assert int(rest[0]["id"]) > int(preview["id"])
    over = await client.get(url, headers={"last-event-id": rest[0]["id"]})
    assert (over.status_code, over.content) == (204, b"")
    again = await client.get(url, headers={"last-event-id": "nonsense"})
    assert '"state":"succeeded"' in again.text


# ---------------------------------------------------------------------- images


@pytest.mark.parametrize(
    ("headers", "status", "content", "content_range"),
    [
        ({}, 200, b"toy image", None),
        ({"range": "bytes=0-2"}, 206, b"toy", "bytes 0-2/9"),
        ({"range": "bytes=4-"}, 206, b"image", "bytes 4-8/9"),
        ({"range": "bytes=-5"}, 206, b"image", "bytes 4-8/9"),
        ({"range": "bytes=4-99"}, 206, b"image", "bytes 4-8/9"),
        ({"range": "bytes=0-1,3-4"}, 200, b"toy image", None),
        ({"range": "lines=1-2"}, 200, b"toy image", None),
        ({"range": "bytes=5-4"}, 200, b"toy image", None),
        ({"range": "bytes=0-2", "if-range": '"other"'}, 200, b"toy image", None),
        ({"range": "bytes=0-2", "if-range": "ETAG"}, 206, b"toy", "bytes 0-2/9"),
        ({"if-none-match": '"other", W/ETAG'}, 304, b"", None),
        ({"if-none-match": "*"}, 304, b"", None),
        ({"if-none-match": '"other"'}, 200, b"toy image", None),
        ({"if-match": "ETAG"}, 200, b"toy image", None),
    ],
)
async def test_parts_and_conditions(
    client: httpx.AsyncClient, headers: dict[str, str], status: int, content: bytes, content_range: str | None
) -> None:
    await submit(client, "j")
    etag = (await ended(client, "j"))["artifacts"][0]["etag"]
    asked = {name: value.replace("ETAG", f'"{etag}"') for name, value in headers.items()}
    answer = await client.get("/v1/jobs/j/artifacts/0", headers=asked)
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers.get("content-range") == content_range
    assert answer.headers["etag"] == f'"{etag}"'
    head = await client.head("/v1/jobs/j/artifacts/0", headers=asked)
    assert (head.status_code, head.content) == (304 if status == 304 else 200, b"")
    if status != 304:
        assert head.headers["content-length"] == "9"  # ranges are for GET only


@pytest.mark.parametrize(
    ("path", "headers", "status", "title"),
    [
        ("/v1/jobs/j/artifacts/0", {"range": "bytes=9-"}, 416, "OFFSET_OUT_OF_RANGE"),
        ("/v1/jobs/j/artifacts/0", {"if-match": '"other"'}, 412, "ARTIFACT_CHANGED"),
        ("/v1/jobs/j/artifacts/1", {}, 404, "ARTIFACT_NOT_FOUND"),
        ("/v1/jobs/j/artifacts/x", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs/none/artifacts/0", {}, 404, "JOB_NOT_FOUND"),
        ("/v1/jobs/none", {}, 404, "JOB_NOT_FOUND"),
        ("/v1/jobs/none/events", {}, 404, "JOB_NOT_FOUND"),
        ("/v1/jobs/a%20b", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs?limit=0", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs?limit=1&limit=2", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs?states=lost", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs?after=made-up", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs?nonsense=1", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs/j/events?want=all", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/jobs/j/events?want=progress,preview,preview", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/nothing", {}, 404, "UNSUPPORTED"),
    ],
)
async def test_what_cannot_be_had_is_a_problem(
    client: httpx.AsyncClient, path: str, headers: dict[str, str], status: int, title: str
) -> None:
    await submit(client, "j")
    await ended(client, "j")
    answer = await client.get(path, headers=headers)
    assert answer.status_code == status
    assert problem(answer)["title"] == title


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"params": {}}, "prompt"),
        ({"params": {"prompt": " "}}, "prompt"),
        ({"params": PROMPT | {"steps": 4.5}}, "steps"),
        ({"params": PROMPT | {"width": 100}}, "width"),
        ({"params": PROMPT | {"step": 4}}, "step"),
        ({"params": "x"}, "params"),
        ({}, "params"),
        ({"params": PROMPT, "job": "a b"}, "job"),
        ({"params": PROMPT, "priority": "urgent"}, "priority"),
        ({"params": PROMPT, "timeout_ms": 0}, "timeout_ms"),
        ({"params": PROMPT, "tags": ["a", 1]}, "tags[1]"),
        ({"params": PROMPT, "tags": "a"}, "tags"),
        ({"params": PROMPT, "nonsense": 1}, "nonsense"),
        ({"params": PROMPT, "kind": "img2img"}, "attachments"),
    ],
)
async def test_a_wrong_field_is_named(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.post("/v1/jobs", json=body)
    found = problem(answer)
    assert (answer.status_code, found["title"], found["details"]["field"]) == (400, "INVALID_ARGUMENT", field)
    assert found["processed"] == "no"


async def test_a_full_queue_says_when_to_come_back(start_http: StartHttp) -> None:
    client = await start_http(engine := HeldEngine(), max_resident=1, queue_limit=1).client()
    await submit(client, "runs")
    await engine.wait(engine.started)
    await submit(client, "waits")
    answer = await client.post("/v1/jobs", json={"params": PROMPT})
    found = problem(answer)
    assert (answer.status_code, found["title"], found["retry"]) == (503, "QUEUE_FULL", "after")
    assert int(answer.headers["retry-after"]) * 1000 >= found["retry_after_ms"] > 0


async def test_a_job_is_submitted_by_many_at_once_and_made_once(client: httpx.AsyncClient, server: HttpServer) -> None:
    answers = await asyncio.gather(*(submit(client, "same") for _ in range(20)))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 19
    await ended(client, "same")
    assert len(server.engine.tasks) == 1


async def test_an_image_whose_file_was_cut_short_is_not_served(start_http: StartHttp, tmp_path: Path) -> None:
    """Before the answer it is an error; within it the connection ends, so that nobody takes a part for the whole."""
    server = start_http(ToyEngine(image=os.urandom(16 << 20)))
    client = await server.client()
    await submit(client, "j")
    etag = (await ended(client, "j"))["artifacts"][0]["etag"]
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.port(), limit=1024)
    writer.write(b"GET /v1/jobs/j/artifacts/0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    [file] = list((tmp_path / "data" / "artifacts").rglob(etag))
    os.truncate(file, 15 << 20)
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await reader.readexactly(16 << 20)
    writer.close()
    again = await client.get("/v1/jobs/j/artifacts/0")
    assert again.status_code == 404
    assert "missing or damaged" in problem(again)["detail"]
