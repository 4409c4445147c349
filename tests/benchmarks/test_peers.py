"""The peers: each makes the right image, alone and in a batch; when a machine is free; tables from made-up figures."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import numpy as np
import pytest
from benchmarks import processes
from benchmarks.deployments.model import Plain
from benchmarks.deployments.outcomes import Answer, Kind, Outcome
from benchmarks.deployments.prompts import Prompts
from benchmarks.deployments.references import Judge
from benchmarks.deployments.trace import Request
from benchmarks.measure import Summary
from benchmarks.peers import __main__ as peers
from benchmarks.peers import cancel, report
from benchmarks.peers.servers import PATH, fastapi_lock, naive_threads
from benchmarks.peers.services import Peer


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


@pytest.fixture(scope="module")
def asked(plain: Plain) -> tuple[list[Request], Judge]:
    """Three requests, one of them with another number of steps, and what they should give."""
    prompts = Prompts(5)
    requests = [*prompts.take(2), prompts.with_steps(4)]
    pixels = {one.number: np.asarray(plain.make([one])[0].convert("RGB")) for one in requests}
    return requests, Judge(pixels, prompts.wanted)


async def test_batching_servers_make_the_right_images(asked: tuple[list[Request], Judge], tmp_path: Path) -> None:
    """All three at once: what can be batched is, and everyone gets his own."""
    requests, judge = asked
    made = {}
    for name in ("litserve_batch", "mosec_batch"):
        (tmp_path / name).mkdir()
        made[name] = Peer(name, tmp_path / name)
    try:
        await asyncio.gather(*(peer.start() for peer in made.values()))
        async with aiohttp.ClientSession() as http:
            for name, peer in made.items():
                images = await asyncio.gather(*(_post(http, peer.address(""), one) for one in requests))
                right = [judge.right(one.number, image) for one, image in zip(requests, images, strict=True)]
                assert right == [True] * 3, name
                peer.pause()
                await _all_are(peer, stopped=True)
                peer.resume()
                await _all_are(peer, stopped=False)
                assert judge.right(requests[0].number, await _post(http, peer.address(""), requests[0])), name
    finally:
        await asyncio.gather(*(peer.kill() for peer in made.values()))


async def _all_are(peer: Peer, *, stopped: bool) -> None:
    """Wait until every process of this server is stopped, or none is."""
    async with asyncio.timeout(20):
        while {_state(pid) == "T" for pid in processes.family(peer.pid)} != {stopped}:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


class Noted(Peer):
    """A peer that is not started and notes what is done to it."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    def pause(self) -> None:
        self.notes.append(f"{self.name} paused")

    def resume(self) -> None:
        self.notes.append(f"{self.name} resumed")


async def test_while_it_is_not_its_turn_a_peer_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SETTLE_S", 0.0)
    notes: list[str] = []
    services = {"a": Noted("a", notes), "b": Noted("b", notes), peers.PIXWIRE: object()}
    stands: Any = {name: SimpleNamespace(service=service) for name, service in services.items()}
    run = peers.Run(peers.QUICK, 1, stands, lambda: None)
    async with run.turn(peers.PIXWIRE):
        assert notes == ["a paused", "b paused"]
    notes.clear()

    async def failing() -> None:
        async with run.turn("a"):
            assert notes == ["b paused"], "neither itself nor pixwire"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await failing()
    assert notes == ["b paused", "b resumed"]


async def _post(http: aiohttp.ClientSession, url: str, request: Request) -> bytes:
    async with http.post(url, json=request.to_map()) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def test_fastapi_makes_the_right_images_one_by_one(asked: tuple[list[Request], Judge], plain: Plain) -> None:
    requests, judge = asked
    transport = httpx.ASGITransport(app=fastapi_lock.make_app(plain))
    async with httpx.AsyncClient(transport=transport, base_url="http://peer") as http:
        answers = await asyncio.gather(*(http.post(PATH, json=one.to_map()) for one in requests))
    assert all(judge.right(one.number, answer.content) for one, answer in zip(requests, answers, strict=True))


@pytest.fixture
def naive(plain: Plain) -> Iterator[str]:
    server = naive_threads.Naive(0, plain)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}{PATH}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_thread_per_request_is_right_while_it_is_alone(
    asked: tuple[list[Request], Judge], naive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, judge = asked
    async with aiohttp.ClientSession() as http:
        for one in requests:
            assert judge.right(one.number, await _post(http, naive, one))
        monkeypatch.setattr(Plain, "make", lambda self, requests: 1 / 0)
        async with http.post(naive, json=requests[0].to_map()) as response:
            assert (response.status, "ZeroDivision" in await response.text()) == (500, True)


def test_one_call_with_several_numbers_of_steps_keeps_the_order(
    asked: tuple[list[Request], Judge], plain: Plain
) -> None:
    requests, judge = asked
    shuffled = [requests[2], requests[0], requests[1]]
    for one, image in zip(shuffled, plain.make(shuffled), strict=True):
        far = np.abs(np.asarray(image.convert("RGB"), int) - judge.references[one.number].astype(int))
        assert far.max() <= 2


# --- when a machine is free


def samples(*used: float) -> list[cancel.Sample]:
    return [cancel.Sample(number * 0.01, at) for number, at in enumerate(used)]


def test_a_machine_is_free_when_its_processes_stand_still() -> None:
    busy = [0.01 * number for number in range(6)]
    assert cancel.still_since(samples(*busy)) is None
    assert cancel.still_since(samples(*busy, *[0.05] * 5)) is None, "not for long enough"
    since = cancel.still_since(samples(*busy, *[0.05] * 20))
    assert since == pytest.approx(0.05, abs=0.011)


def test_timers_do_not_count_as_computing() -> None:
    ticking = [0.05 * 0.01 * number for number in range(30)]
    assert cancel.still_since(samples(*ticking)) == 0.0


# --- figures


def outcome(number: int, kind: Kind, over: float) -> Outcome:
    return Outcome(number, kind, 0.0, 0.0, over, Answer(b""))


def test_wrong_images_are_no_images_a_second() -> None:
    ends = [outcome(0, Kind.DONE, 1.0), outcome(1, Kind.WRONG, 1.5), outcome(2, Kind.DONE, 2.0)]
    assert peers.rate_of(ends) == 1.0
    assert peers.rate_of([outcome(0, Kind.WRONG, 1.0)]) == 0.0


def made_up() -> dict[str, dict[str, Summary]]:
    def row(value: float) -> dict[str, Summary]:
        keys = [key for key in report.COLUMNS if key != "lost"]
        return {key: Summary(value, value * 0.9, value * 1.1) for key in keys}

    return {"mosec": row(4.0), "pixwire": row(5.0) | {"lost": Summary(0, 0, 0)}}


def test_the_table_and_the_plots_show_every_server(tmp_path: Path) -> None:
    rows = report.rows(made_up())
    assert [row["server"] for row in rows] == ["mosec", "pixwire"]
    assert (rows[0]["lost"], rows[1]["lost"], rows[1]["wrong"]) == ("-", 0, 5)
    report.show(made_up(), {"pixwire": dict.fromkeys(map(str, Kind), 0.0) | {"asked": 3.0}}, 3.0)
    report.plot(made_up(), {"pixwire": [(50.0, 0.1), (90.0, 0.2)]}, tmp_path)
    assert (tmp_path / "peers_latency.svg").exists()


def test_the_question_is_answered_with_the_best_peer() -> None:
    rows = report.why(made_up() | {"slow": {key: Summary(9.0, 9.0, 9.0) for key in report.COLUMNS}}, "pixwire")
    assert [row["best HTTP"] for row in rows] == ["9 images/s", "4 ms", "4 ms"]
    assert [row["pixwire against the best HTTP"] for row in rows] == ["0.56x", "0.8x", "0.8x"]


def test_ratios_are_taken_inside_each_round() -> None:
    keys: Any = ("images_per_s", "mixed_images_per_s", "p50_ms", "p95_ms", "p99_ms")
    rounds = {"mosec": [dict.fromkeys(keys, 2.0), dict.fromkeys(keys, 4.0)],
              "pixwire": [dict.fromkeys(keys, 4.0), dict.fromkeys(keys, 4.0)]}  # fmt: skip
    assert report.ratios(rounds, "pixwire")["pixwire over each, p50_ms"]["mosec"] == Summary(1.5, 1.0, 2.0)
