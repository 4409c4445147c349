"""What the console is fed with, who may have it, and how its files are sent."""

import asyncio
from asyncio import Future
from pathlib import Path
from typing import Any

import httpx
import pytest
from held_engine import HeldEngine
from http_server import HttpServer, StartHttp, events, problem, submit

from pixwire_protocol.admin import ACTIONS
from pixwire_server.doors.http.console.feed import PREVIEW_BYTES, WANTS
from pixwire_server.doors.http.console.history import COLUMNS, KEPT, PASSES, History
from pixwire_server.doors.http.console.previews import MAX_BYTES, MOST, PER_TICK, Previews
from pixwire_server.doors.tokens import entry_for
from pixwire_server.engine import api
from pixwire_server.jobs import DENOISE, PreviewShown

FEED = "/v1/overview/events"


def overview(uptime_ms: int = 0, running: int = 1, **queue: int) -> dict[str, Any]:
    waiting = {"high": 0, "normal": 0, "low": 0, "oldest_ms": 0} | queue
    return {"uptime_ms": uptime_ms, "engine": {"images_per_minute": 6.0}, "queue": waiting, "running": [{}] * running}


# ------------------------------------------------------------------ what is kept


def test_a_sample_has_the_means_of_its_second() -> None:
    history = History()
    history.passed(1, DENOISE, 4, 10.0, (1, 2))
    history.passed(2, DENOISE, 8, 20.0, (1, 2, 3))
    history.passed(3, "decode", 9, 999.0, (1,))
    history.sample(overview(1000, high=1, normal=2, low=3, oldest_ms=70))
    history.sample(overview(2000))  # a pass that takes longer
    history.sample(overview(3000, running=0))
    history.sample(overview(4000))  # nothing is known of what runs now
    mark, samples = history.samples_since(0)
    named = [dict(zip(COLUMNS, sample, strict=True)) for sample in samples]
    assert named[0] == {
        "at_ms": 1000,
        "images_per_minute": 6.0,
        "rows": 6.0,
        "step_ms": 15.0,
        "waiting": 6,
        "running": 1,
        "oldest_ms": 70,
    }
    assert [(one["rows"], one["step_ms"]) for one in named[1:]] == [(6.0, 15.0), (None, None), (None, None)]
    assert history.samples_since(mark) == (mark, ())
    assert history.passes_since(0) == (2, ((1, 4, 10.0, 2), (2, 8, 20.0, 3)))
    assert history.passes_since(1) == (2, ((2, 8, 20.0, 3),))


def test_the_past_is_bounded() -> None:
    history = History()
    for number in range(KEPT + 7):
        history.passed(number, DENOISE, 1, 1.0, ())
        history.sample(overview(number))
    mark, samples = history.samples_since(0)
    assert (mark, len(samples), samples[0][0], samples[-1][0]) == (KEPT + 7, KEPT, 7, KEPT + 6)
    passes = history.passes_since(0)[1]
    assert [one[0] for one in passes] == list(range(KEPT + 7 - PASSES, KEPT + 7))


class FakeJobs:
    """Knows who watches what."""

    def __init__(self) -> None:
        self.watched: dict[tuple[str, str], Any] = {}
        self.asked: list[tuple[str, str]] = []

    def watch(self, principal: str, job: str, listener: Any, want: frozenset[str]) -> "Future[Any]":
        assert want == {"preview"}
        future: Future[Any] = asyncio.get_running_loop().create_future()
        if job.startswith("gone"):
            future.set_exception(KeyError(job))
        else:
            key = principal, job
            self.watched[key] = listener
            self.asked.append(key)
            future.set_result(type("Watch", (), {"close": lambda watch: self.watched.pop(key, None)})())
        return future

    def show(self, principal: str, job: str, image: bytes = b"picture", step: int = 1) -> None:
        self.watched[principal, job](PreviewShown(job, step, step, 9, "image/jpeg", 8, 8, image))


async def test_pictures_are_asked_for_in_turn_and_few_at_a_time() -> None:
    jobs = FakeJobs()
    previews = Previews(jobs)  # type: ignore[arg-type]
    running = [("alice", f"j{number}") for number in range(PER_TICK + 3)]
    previews.tick(running)
    await asyncio.sleep(0)
    assert jobs.asked == running[:PER_TICK]
    previews.tick(running)  # those are awaited still: now the others
    assert jobs.asked == running
    await asyncio.sleep(0)
    jobs.show("alice", "j0")
    assert ("alice", "j0") not in jobs.watched  # the engine makes no more of it until its turn comes again
    jobs.asked.clear()
    previews.tick(running)
    assert jobs.asked == [("alice", "j0")]
    previews.keep(())
    await asyncio.sleep(0)
    assert jobs.watched == {}


async def test_the_latest_picture_of_each_job_is_kept_once() -> None:
    jobs = FakeJobs()
    previews = Previews(jobs)  # type: ignore[arg-type]
    running = [("alice", "a"), ("bob", "b")]
    for step in (1, 2, 3):
        previews.tick(running)
        await asyncio.sleep(0)
        jobs.show("alice", "a", b"a%d" % step, step)
    jobs.show("bob", "b", b"x" * (MAX_BYTES + 1))
    mark, told = previews.since(0, 10_000)
    assert len(told) == 1
    assert b'"step":3' in told[0]
    assert previews.since(mark, 10_000) == (mark, [])
    previews.keep([("bob", "b")])
    assert previews.since(0, 10_000) == (0, [])


async def test_a_slow_reader_gets_so_many_bytes_and_the_rest_next_time() -> None:
    jobs = FakeJobs()
    previews = Previews(jobs)  # type: ignore[arg-type]
    running = [("alice", f"j{number}") for number in range(5)]
    previews.tick(running)
    await asyncio.sleep(0)
    for principal, job in running:
        jobs.show(principal, job, b"x" * 300)
    mark, first = previews.since(0, 1200)
    assert 1 <= len(first) < 5
    mark, second = previews.since(mark, PREVIEW_BYTES)
    assert len(first) + len(second) == 5
    assert previews.since(0, 1)[1] == first[:1]  # however little: one, so that it goes on


async def test_jobs_that_have_gone_and_too_many_jobs_do_no_harm() -> None:
    jobs = FakeJobs()
    previews = Previews(jobs)  # type: ignore[arg-type]
    for _ in range(8):
        previews.tick([("alice", "gone"), *(("alice", f"j{number}") for number in range(MOST + 9))])
        await asyncio.sleep(0)
    assert len(jobs.watched) == MOST - 1


# ------------------------------------------------------------------ the feed


async def test_an_operator_sees_the_past_the_passes_and_pictures_of_others(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    await submit(client, "j1")
    await engine.wait(engine.started)
    told: dict[str, Any] = {}
    async with client.stream("GET", f"{FEED}?want={','.join(WANTS)}") as stream:
        assert stream.headers["cache-control"] == "no-store"
        async for event in events(stream):
            if event["event"] == "overview" and not told:
                await engine.wait(engine.watched)
                one = api.Pass(7, "denoise", "64x64", 2, 4096, 8.0, (engine.tasks[0].handle,))
                engine.report(api.Passed((one,)))
                engine.preview(3)
            told[event["event"]] = event["data"]
            if told.keys() == {"overview", *WANTS}:
                break
    assert told["overview"]["running"][0]["job"] == "j1"
    assert told["samples"]["columns"] == list(COLUMNS)
    assert told["passes"] == {"passes": [[7, 2, 8.0, 1]]}
    assert (told["preview"]["principal"], told["preview"]["job"], told["preview"]["step"]) == ("anonymous", "j1", 3)


async def test_no_pictures_are_made_for_those_who_want_none(start_http: StartHttp) -> None:
    server = start_http(engine := HeldEngine())
    client = await server.client()
    await submit(client, "j1")
    await engine.wait(engine.started)
    seen = 0
    async with client.stream("GET", FEED) as stream:
        async for event in events(stream):
            assert event["event"] == "overview"
            if (seen := seen + 1) == 3:
                break
    assert not engine.watched.is_set()


async def test_words_that_it_does_not_know_are_refused(client: httpx.AsyncClient) -> None:
    assert problem(await client.get(f"{FEED}?want=everything"))["details"]["field"] == "want"
    assert problem(await client.get(f"{FEED}?wish=samples"))["details"]["field"] == "wish"


# ------------------------------------------------------------------ who may


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    path.write_text(f"{entry_for('olga', 'o', roles=('admin',))}\n{entry_for('alice', 'a')}\n")
    return path


async def test_only_admins_see_the_server_and_change_it(start_http: StartHttp, tokens: Path) -> None:
    server = start_http(engine := HeldEngine(), tokens=str(tokens))
    alice, olga = await server.client(token="a"), await server.client(token="o")
    await submit(alice, "hers")
    await engine.wait(engine.started)
    for answer in (
        await alice.get(FEED),
        await alice.post("/v1/admin", json={"action": "cancel", "job": "hers", "principal": "alice"}),
    ):
        assert answer.status_code == 403
        assert problem(answer)["title"] == "FORBIDDEN"
    stranger = await server.client()
    for path in (FEED, "/v1/me"):
        assert (await stranger.get(path)).status_code == 401
    assert (await alice.get("/v1/me")).json() == {"principal": "alice", "roles": [], "mechanisms": ["bearer"]}
    assert (await olga.get("/v1/me")).json()["roles"] == ["admin"]
    done = await olga.post("/v1/admin", json={"action": "cancel", "job": "hers", "principal": "alice"})
    assert (done.status_code, done.json()) == (200, {"cancelled": 1})


async def test_an_operator_pauses_and_resumes(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/admin", json={"action": "pause", "reason": "cleaning"})
    assert answer.json() == {"paused": True}
    refused = await client.post("/v1/jobs", json={"params": {"prompt": "a red circle"}})
    assert problem(refused)["title"] == "PAUSED"
    assert "cleaning" in problem(refused)["detail"]
    assert (await client.post("/v1/admin", json={"action": "resume"})).json() == {"paused": False}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "action"),
        ({"action": "reboot"}, "action"),
        ({"action": "pause", "why": "x"}, "why"),
        ({"action": "pause", "reason": "x" * 257}, "reason"),
        ({"action": "cancel"}, "job"),
        ({"action": "cancel", "job": "no/job"}, "job"),
        ({"action": "load"}, "model"),
        ({"action": "load", "model": ""}, "model"),
        ({"action": "load", "model": "none"}, "model"),
        ({"action": "overview", "limit": 0}, "limit"),
    ],
)
async def test_what_cannot_be_done_names_its_field(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.post("/v1/admin", json=body)
    assert answer.status_code == 400
    assert problem(answer)["details"]["field"] == field


async def test_a_form_of_another_site_changes_nothing(client: httpx.AsyncClient) -> None:
    form = await client.post("/v1/admin", data={"action": "pause"})
    assert form.status_code == 415
    text = await client.post("/v1/admin", content='{"action":"pause"}', headers={"content-type": "text/plain"})
    assert text.status_code == 415
    foreign = await client.post("/v1/admin", json={"action": "pause"}, headers={"origin": "https://elsewhere.example"})
    assert foreign.status_code == 403
    assert (await client.get("/readyz")).json() == {"status": "ready"}


async def test_the_document_names_every_action(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()["components"]["schemas"]["admin"]
    assert schema["properties"]["action"]["enum"] == list(ACTIONS)


# ------------------------------------------------------------------ the page


async def test_the_page_and_its_files_are_for_everybody(start_http: StartHttp, tokens: Path) -> None:
    client = await start_http(tokens=str(tokens)).client()
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in page.text
    assert "https://" not in page.text
    again = await client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.head("/")).headers["content-length"] == str(len(page.content))
    script = await client.get("/console/main.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["content-security-policy"] == policy


@pytest.mark.parametrize("path", ["/console/", "/console/../app.py", "/console/%2e%2e/pages.py", "/console/none.js"])
async def test_there_are_no_other_files(server: HttpServer, client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(httpx.URL(f"{await server.url()}", raw_path=path.encode()))
    assert answer.status_code == 404
    assert problem(answer)["title"] == "UNSUPPORTED"
