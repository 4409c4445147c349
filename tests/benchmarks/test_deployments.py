"""The deployments: each makes the right image; what is lost, refused and wrong is counted so; verdicts and tables."""

import asyncio
import io
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.deployments import lines, outcomes, report, services, stands, trace, verdicts
from benchmarks.deployments.applications import broker as broker_application
from benchmarks.deployments.applications import make
from benchmarks.deployments.broker.connection import Broker
from benchmarks.deployments.model import Plain, png
from benchmarks.deployments.outcomes import Answer, Kind, Outcome
from benchmarks.deployments.player import Player
from benchmarks.deployments.prompts import Prompts
from benchmarks.deployments.references import Judge
from benchmarks.deployments.verdicts import Figures, Verdict
from benchmarks.measure import Summary
from PIL import Image

TITLES = [one.title for one in stands.DEPLOYMENTS]


@pytest.fixture(scope="module")
def plain() -> Plain:
    return Plain()


def judge_with(plain: Plain, prompts: Prompts) -> Judge:
    requests = list(prompts.requests.values())
    pixels = [_pixels(image) for image in plain.make(requests)]
    return Judge({one.number: image for one, image in zip(requests, pixels, strict=True)}, prompts.wanted)


def _pixels(image: Image.Image) -> Any:
    import numpy as np

    return np.asarray(image.convert("RGB"))


# --- real ones


async def _asked(name: str, address: str, request: trace.Request, *, detail: bool = True) -> Answer:
    application = make(name)
    await application.open(address)
    try:
        return await application.generate(request, None, detail=detail)
    finally:
        await application.close()


class OneImage:
    """A worker of the broker, in this process: takes messages and makes their images with the test's model."""

    def __init__(self, address: str, plain: Plain) -> None:
        from benchmarks.deployments.broker.worker import work

        self._task = asyncio.ensure_future(work(address, plain))

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_every_deployment_makes_the_right_image(plain: Plain, tmp_path: Path) -> None:
    """The same request everywhere, and where it was when."""
    prompts = Prompts(3)
    (request,) = prompts.take(1)
    judge = judge_with(plain, prompts)
    assert judge.obedience() == 1.0, "the right image does not even show what its prompt says"
    server, queue = services.Pixwire(tmp_path), services.Process(
        tmp_path / "log", "benchmarks.deployments.broker.queue", str(tmp_path / "queue.sqlite3")
    )  # fmt: skip
    try:
        _, address = await asyncio.gather(server.start(), queue.start())
        worker = OneImage(address, plain)
        asked = {
            "direct_http": server.address("http"),
            "http_jobs": server.address("http"),
            "pxw": server.address("tcp"),
            "broker": address,
            "in_process": "",
            "embedded": str(tmp_path / "embedded"),
        }
        made = await asyncio.gather(*(_asked(name, where, request) for name, where in asked.items()))
        answers = dict(zip(asked, made, strict=True))
        answers["unix"] = await _asked("pxw", server.address("unix"), request)
        await worker.stop()
    finally:
        await server.stop()
        await queue.end()
    assert {name: judge.right(request.number, answer.image) for name, answer in answers.items()} == dict.fromkeys(
        answers, True
    )
    for name, answer in answers.items():
        marks = (answer.accepted, answer.started, answer.ended)
        if name == "embedded":
            assert marks == (None, None, None), "its server is not a stamped one"
        else:
            assert None not in marks, name
            assert sorted(marks) == list(marks), name  # type: ignore[type-var]


# --- accounting, with a scripted kill

FAKE = '''
import asyncio
from benchmarks.deployments.outcomes import Answer, Kind, NoImageError

class Fake:
    """Even numbers have their image at once, odd ones never; 4 is refused."""
    async def open(self, address): self.address = address
    async def generate(self, request, patience, *, detail):
        if request.number == 4:
            raise NoImageError(Kind.REFUSED, "full")
        if request.number % 2:
            await asyncio.Event().wait()
        return Answer(str(request.number).encode())
    async def close(self): pass

class Finding(Fake):
    """And after a kill it finds what it asked for, but for 3."""
    async def again(self, request):
        if request.number == 3:
            raise NoImageError(Kind.LOST, "unknown")
        return Answer(b"found")

make = NAME
'''


def fake(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with that application, where the application's process finds it."""
    (folder / f"fake_{name.lower()}.py").write_text(FAKE.replace("NAME", name))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    return f"fake_{name.lower()}"


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("Fake", {Kind.DONE: 2, Kind.REFUSED: 1, Kind.LOST: 3}),
        ("Finding", {Kind.DONE: 4, Kind.REFUSED: 1, Kind.LOST: 1}),
    ],
)
async def test_what_an_application_was_at_when_it_was_killed_is_lost(
    name: str, counted: dict[Kind, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six requests at once; killed while 1, 3 and 5 are under way. The one that comes later finds nobody."""
    module = fake(name, tmp_path, monkeypatch)
    deployment = stands.Deployment("fake", module, "nothing")
    stand = stands.Stand(deployment, services.Nothing(tmp_path / "home"), tmp_path)
    await stand.start()
    try:
        requests = [trace.Request(number, "", 0, at=0.0) for number in range(6)]
        requests += [trace.Request(6, "", 0, at=0.31), trace.Request(8, "", 0, at=60.0)]
        found = await stand.killed(requests[:7], at=0.3)
    finally:
        await stand.kill()
    assert outcomes.Tally(found, 1.0).counts == counted | {Kind.UNREACHABLE: 1}
    assert sorted(one.number for one in found) == list(range(7))


@pytest.mark.parametrize("durable", [True, False])
async def test_messages_survive_the_broker_if_they_are_on_disk(durable: bool, tmp_path: Path) -> None:
    """kill -9 of the broker while two messages wait and one is being worked at. In memory all three are lost."""
    path = tmp_path / "queue.sqlite3" if durable else Path(":memory:")
    queue = services.Process(tmp_path / "log", "benchmarks.deployments.broker.queue", str(path))
    address = await queue.start()
    application = broker_application.Brokered()
    await application.open(address)
    requests = [trace.Request(number, "a red circle", number) for number in range(3)]
    asking = [asyncio.ensure_future(application.generate(one, None, detail=False)) for one in requests]
    worker = await Broker.connect(address)
    assert (await worker.call("pull"))["body"]["number"] == 0
    await application._broker.call("wait", id="never published")  # what was sent before it is in
    await queue.end(signal.SIGKILL)
    port = address.rpartition(":")[2]
    again = services.Process(tmp_path / "log", "benchmarks.deployments.broker.queue", str(path), "--port", port)
    await again.start()
    try:
        if durable:
            await worker.close()
            worker, order = await Broker.connect(address), []
            for _ in requests:
                message = await worker.call("pull")
                order.append(message["body"]["number"])
                await worker.call("done", id=message["id"], image=b"x", started=1.0, ended=2.0)
            assert order == [0, 1, 2], "a message that comes again keeps its place"
            assert [answer.image for answer in await asyncio.gather(*asking)] == [b"x"] * 3
        else:
            ends = await asyncio.gather(*asking, return_exceptions=True)
            assert [getattr(end, "kind", end) for end in ends] == [Kind.LOST] * 3
    finally:
        await worker.close()
        await application.close()
        await again.end()


async def test_a_full_broker_refuses(tmp_path: Path) -> None:
    from benchmarks.deployments.broker import queue as broker

    server = await asyncio.start_server(broker.Queue(broker.Store(Path(":memory:"))).serve, "127.0.0.1", 0)
    async with server:
        client = await Broker.connect(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        for number in range(broker.LIMIT):
            assert "accepted" in await client.call("publish", id=str(number), body={})
        assert "refused" in await client.call("publish", id="one more", body={})
        assert "accepted" in await client.call("publish", id="0", body={}), "one that is known is not refused"
        await client.close()


async def test_a_message_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    from benchmarks.deployments.broker import queue as broker

    server = await asyncio.start_server(broker.Queue(broker.Store(Path(":memory:"))).serve, "127.0.0.1", 0)
    async with server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = await Broker.connect(address)
        await client.call("publish", id="poison", body={})
        for _ in range(broker.MOST_TRIES):
            worker = await Broker.connect(address)
            assert (await worker.call("pull"))["id"] == "poison"
            await worker.close()
        waiting = asyncio.ensure_future(client.call("wait", id="poison"))
        last = await Broker.connect(address)
        pulling = asyncio.ensure_future(last.call("pull"))
        assert (await waiting)["image"] == b""
        pulling.cancel()
        await asyncio.wait([pulling])
        await last.close()
        await client.close()


# --- from outcomes to figures


def outcome(number: int, kind: Kind = Kind.DONE, sent: float = 0.0, over: float = 1.0, image: bytes = b"") -> Outcome:
    answer = Answer(image, 0.1, 0.3, 0.9) if kind in (Kind.DONE, Kind.LATE) else None
    return Outcome(number, kind, sent, sent, over, answer)


def test_another_image_is_a_wrong_one(plain: Plain) -> None:
    prompts = Prompts(4)
    requests = prompts.take(2)
    judge = judge_with(plain, prompts)
    images = [png(image) for image in plain.make(requests)]
    right, swapped = outcome(0, image=images[0]), outcome(0, image=images[1])
    assert [one.kind for one in judge.judge([right, swapped, outcome(0, image=b"no image")])] == [
        Kind.DONE, Kind.WRONG, Kind.WRONG,
    ]  # fmt: skip
    nearly = Image.open(io.BytesIO(images[0])).point([min(255, value + 2) for value in range(256)] * 3)
    over = Image.open(io.BytesIO(images[0])).point([min(255, value + 3) for value in range(256)] * 3)
    assert judge.right(0, png(nearly))
    assert not judge.right(0, png(over))


def test_the_parts_of_the_way_add_up() -> None:
    parts = outcomes.split(outcome(1))
    assert parts is not None
    assert parts == pytest.approx({"transport": 100, "queue": 200, "compute": 600, "delivery": 100, "total": 1000})
    assert outcomes.split(replace(outcome(1), answer=Answer(b"", None, None, None))) is None


def test_who_comes_late_was_overtaken() -> None:
    in_order = [outcome(n, sent=n, over=n + 5.0) for n in range(4)]
    assert outcomes.overtaken(in_order) == 0
    assert outcomes.overtaken([replace(in_order[0], over=6.5), *in_order[1:]]) == 0.25


def test_images_in_time_are_counted_over_the_time_that_they_took() -> None:
    tally = outcomes.Tally([outcome(0, over=1.0), outcome(1, over=4.0), outcome(2, Kind.LATE, over=9.0)], 2.0)
    assert tally.row()["in_time_per_s"] == 0.5
    assert outcomes.Tally([outcome(0, over=1.0)], 2.0).row()["in_time_per_s"] == 0.5


def test_a_trace_is_the_same_again_and_no_prompt_comes_twice() -> None:
    one, other = Prompts(1).take(30), Prompts(1).take(30)
    assert one == other
    assert len({request.prompt for request in one}) == 30
    times = [request.at for request in trace.poisson(one, 10.0, 1)]
    assert times == sorted(times)
    assert 1.5 < times[-1] < 6.0


def test_lines_of_code_are_those_with_code() -> None:
    source = '"""Doc."""\n\n# comment\nx = 1\n\ndef f():\n    """Doc\n    more."""\n    return (\n        x\n    )\n'
    assert lines.count(source) == 5


# --- verdicts


def figures(**changes: Any) -> Figures:
    """Made up so that every claim which figures can confirm is confirmed."""
    outside = {"direct HTTP": 4.0, "broker (stand-in)": 2.0, "in process": 0.1, "embedded": 1.0, "HTTP jobs": 5.0,
               "PXW": 1.5, "PXW, Unix socket": 1.4}  # fmt: skip
    split = {name: _parts(ms) for name, ms in outside.items()}
    rates = {name: (9.0, 1.0 if name == "direct HTTP" else 8.0) for name in TITLES[:6]}
    load = {name: {at: _row(rate) for at, rate in zip(("0.9x", "3x"), of, strict=True)} for name, of in rates.items()}
    killed = {name: dict.fromkeys(map(str, Kind), 0.0) | {"asked": 10.0, "done": 10.0} for name in TITLES}
    killed["direct HTTP"] |= {"lost": 3.0, "done": 7.0}
    facts = {name: {"torch": name == "in process", "memory": 2**26} for name in TITLES}
    of = {"direct HTTP": 10, "broker (stand-in)": 40, "in process": 30, "embedded": 30, "HTTP jobs": 20, "PXW": 30}
    made = Figures(split, load, killed, facts, of | {"PXW itself": 900, "HTTP door": 200})
    return replace(made, **changes)


def _parts(ms: float) -> dict[str, Summary]:
    parts = {"transport": ms / 2, "queue": 0.0, "compute": 100.0, "delivery": ms / 2, "outside": ms, "total": 100 + ms}
    return {name: Summary(value, value - ms / 100, value + ms / 100) for name, value in parts.items()}


def _row(rate: float, **counts: float) -> dict[str, Summary]:
    row = dict.fromkeys(map(str, Kind), 0.0) | {"asked": 20.0, "done": 20.0, "in_time_per_s": rate, "overtaken": 0.0}
    row |= {"p50_ms": 1.0, "p95_ms": 2.0} | counts
    return {name: Summary(value, value * 0.99, value * 1.01) for name, value in row.items()}


def told(made: Figures) -> dict[str, Verdict]:
    return {one.claim: one.verdict for one in verdicts.judge(made)}


def test_every_claim_can_be_confirmed_refuted_and_left_open() -> None:
    confirmed = told(figures())
    assert [claim for claim, verdict in confirmed.items() if verdict is not Verdict.CONFIRMED] == [
        "a separate service has its own release cycle"
    ]
    assert set(told(Figures({}, {}, {})).values()) == {Verdict.NOT_SHOWN}


def _killed(name: str, **counts: float) -> Any:
    return {**figures().killed, name: {**figures().killed[name], **counts}}


def _split(name: str, key: str, value: Summary) -> Any:
    return {**figures().split, name: {**figures().split[name], key: value}}


def _load(name: str, **counts: float) -> Any:
    return {**figures().load, name: {"0.9x": _row(9.0), "3x": _row(**({"rate": 8.0} | counts))}}


REFUTED: dict[str, dict[str, Any]] = {
    "direct HTTP is the easiest to build": {"lines": {**figures().lines, "PXW": 5}},
    "direct HTTP scales badly (here: under load, on one machine)": {"load": _load("direct HTTP", rate=9.0)},
    "direct HTTP gives weak guarantees": {"killed": _killed("direct HTTP", lost=0.0)},
    "a broker survives overload": {"load": _load("broker (stand-in)", lost=1.0)},
    "a broker guarantees processing": {"killed": _killed("broker (stand-in)", done=9.0, lost=1.0)},
    "a broker guarantees order": {"load": _load("broker (stand-in)", overtaken=0.1)},
    "inside the process the latency is the smallest: all of it": {
        "split": _split("PXW", "total", Summary(90.0, 89.0, 91.0))
    },
    "inside the process the latency is the smallest: transport and delivery": {
        "split": _split("PXW", "outside", Summary(0.01, 0.01, 0.02))
    },
    "inside the process the reliability is high": {"killed": _killed("in process", lost=4.0)},
    "inside the process the application is tied to the model's runtime": {
        "facts": {name: {"torch": False, "memory": 1} for name in TITLES}
    },
    "HTTP is the simplest way to a separate process": {"lines": {**figures().lines, "PXW": 5}},
    "HTTP to a separate process pays for network and serialisation": {
        "split": _split("HTTP jobs", "outside", Summary(0.01, 0.01, 0.02))
    },
    "a custom protocol is faster than HTTP": {"split": _split("PXW", "outside", Summary(9.0, 8.0, 9.5))},
    "a custom protocol costs design and upkeep": {"lines": {**figures().lines, "PXW itself": 100}},
    "a separate service hides its logic": {"facts": {**figures().facts, "PXW": {"torch": True, "memory": 1}}},
}


@pytest.mark.parametrize("claim", REFUTED)
def test_a_claim_is_refuted_by_figures_that_say_the_opposite(claim: str) -> None:
    assert told(figures(**REFUTED[claim]))[claim] is Verdict.REFUTED


def test_figures_that_overlap_show_nothing() -> None:
    overlapping = _split("PXW", "outside", Summary(4.5, 1.0, 9.0))
    assert told(figures(split=overlapping))["a custom protocol is faster than HTTP"] is Verdict.NOT_SHOWN
    one_round = {name: {"outside": Summary(ms, ms, ms)} for name, ms in (("PXW", 1.0), ("HTTP jobs", 9.0))}
    one_round["direct HTTP"] = one_round["HTTP jobs"]
    assert told(figures(split=one_round))["a custom protocol is faster than HTTP"] is Verdict.NOT_SHOWN
    a_little = {"load": _load("direct HTTP", rate=6.4)}
    assert told(figures(**a_little))["direct HTTP scales badly (here: under load, on one machine)"] is Verdict.NOT_SHOWN


def test_behaviour_is_named_from_the_counts() -> None:
    calm = _row(10.0)
    assert verdicts.behaviour({"0.9x": calm, "3x": _row(9.0, refused=5.0)}) == "holds its rate, sheds"
    assert verdicts.behaviour({"0.9x": calm, "3x": _row(1.0, late=40.0)}) == "collapses, answers late"
    assert verdicts.behaviour({"0.9x": calm, "3x": _row(6.0, lost=1.0)}) == "slows down, loses"


def test_the_tables_have_a_row_for_each_deployment(tmp_path: Path) -> None:
    made = figures()
    assert [row["deployment"] for row in report.split_rows(made)] == TITLES
    assert len(report.load_rows(made)) == 12
    assert report.kill_rows(made)[0]["lost"] == 3.0
    report.show(made, verdicts.judge(made), 8.0, 1.5)
    report.plot(made, tmp_path)
    assert (tmp_path / "deployments_load.svg").exists()
    assert report.results(made)["PXW"]["in_time_per_s_at_3x"].median == 8.0


def test_the_question_is_answered_with_the_better_way_over_http() -> None:
    rows = report.why(figures())
    assert (rows[0]["pixwire"], rows[0]["best HTTP"]) == ("1.5 ms", "4 ms")
    assert (rows[1]["pixwire"], rows[1]["best HTTP"]) == ("0", "3")
    assert report.why(Figures({}, {}, {})) == []


async def test_an_application_that_does_not_start_says_why(tmp_path: Path) -> None:
    player = Player("no.such.module", tmp_path / "log")
    with pytest.raises(EOFError, match=r"no\.such"):
        await player.start("")
    await player.kill()
