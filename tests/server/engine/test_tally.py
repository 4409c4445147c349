"""The account of passes: what is told of them, which row limit follows, and that urgent requests go first."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_lab import FAMILIES, Lab

from pixwire_server.engine import cost_file, tally
from pixwire_server.engine.batch_key import alone
from pixwire_server.engine.passes import PassRunner
from pixwire_server.engine.request import Call, Request
from pixwire_server.engine.settings import EngineConfig, ModelSettings
from pixwire_server.engine.stopwatch import Stopwatch
from pixwire_server.engine.tally import Tally
from pixwire_server.scheduling.composition import DECODE, DENOISE, Standing
from pixwire_server.scheduling.cost import CostModel, Shape

SHAPE = Shape("tiny:32x32", 32 * 32)


class Watch(Stopwatch):
    """One that says what a test wants: nothing, for a device that is still at it."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__()
        self.seconds = seconds

    def read(self) -> float | None:
        return self.seconds


def call(handle: int = 1, name: str = "unet", stage: str = DENOISE, shape: Shape | None = SHAPE) -> Call:
    request = Request(handle, {}, standing=Standing(0, 0.0, shape))
    return Call(request, name, stage, lambda: None, {}, alone("test"))


def test_passes_are_told_together_when_it_is_time() -> None:
    seen = Tally()
    for handle in (1, 2):
        seen.seen(call(handle), [call(handle), call(9)], 4, Watch(0.25))
    assert seen.report(0.05, idle=False) is None
    report = seen.report(0.2, idle=False)
    assert report is not None
    assert [(p.id, p.stage, p.shape, p.rows, p.cells, p.ms, p.handles) for p in report.passes] == [
        (1, "denoise", "tiny:32x32", 4, 1024, 250.0, (1, 9)),
        (2, "denoise", "tiny:32x32", 4, 1024, 250.0, (2, 9)),
    ]
    seen.seen(call(), [call()], 1, Watch(0.1))
    assert seen.report(0.25, idle=False) is None
    assert seen.report(0.25, idle=True) is not None, "nothing more comes: whoever waits for it shall hear"
    assert seen.report(9.0, idle=True) is None


def test_what_a_turn_costs_beside_its_passes_is_theirs() -> None:
    seen, watches = Tally(), [Stopwatch(), Stopwatch()]
    for watch in watches:
        watch.stop()
        seen.seen(call(), [call()], 1, watch)
    seen.turned(5.0)
    assert sum(watch.processor for watch in watches) == pytest.approx(5.0)
    seen.turned(7.0)
    report = seen.report(1.0, idle=True)
    assert report is not None
    assert sum(one.ms for one in report.passes) == pytest.approx(5000.0, rel=0.01), "a turn without passes adds nothing"


def test_a_pass_is_told_when_the_device_is_done_with_it() -> None:
    seen, slow = Tally(), Watch(None)
    seen.seen(call(1), [call(1)], 1, slow)
    seen.seen(call(2), [call(2)], 1, Watch(0.1))
    assert seen.report(1.0, idle=True) is None
    slow.seconds = 0.5
    report = seen.report(1.0, idle=True)
    assert report is not None
    assert [one.ms for one in report.passes] == [500.0, 100.0]


def test_other_modules_have_curves_of_their_own_and_requests_without_a_shape_none() -> None:
    seen = Tally()
    seen.seen(call(name="controlnet"), [call()], 1, Watch(0.1))
    seen.seen(call(name="transformer"), [call()], 1, Watch(0.1))
    seen.seen(call(name="vae.decode", stage=DECODE), [call()], 1, Watch(0.1))
    seen.seen(call(shape=None), [call()], 1, Watch(0.1))
    report = seen.report(1.0, idle=True)
    assert report is not None
    assert [(one.stage, one.shape) for one in report.passes] == [
        ("denoise", "tiny:32x32+controlnet"),
        ("denoise", "tiny:32x32"),
        ("decode", "tiny:32x32"),
    ]
    assert seen.knee(call(shape=None), 16) is None
    assert seen.knee(call(stage=DECODE), 16) is None


def test_rows_are_bounded_by_the_knee_and_it_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "RETRY", 10)
    seen = Tally()
    assert seen.knee(call(), 16) == 16
    for rows, seconds in ((1, 1.0), (2, 1.0), (4, 2.0)) * 3:
        seen.seen(call(), [call()], rows, Watch(seconds))
    seen.report(1.0, idle=True)
    assert seen.knee(call(), 16) is None, "the tenth pass tries whether it still holds"
    seen.seen(call(), [call()], 16, Watch(8.0))
    seen.report(2.0, idle=True)
    assert seen.knee(call(), 16) == 2


def test_real_passes_are_measured_and_texts_that_were_known_are_not() -> None:
    lab = Lab(FAMILIES["sd15"].pipeline())
    seen = Tally()
    lab.runner = PassRunner(64, False, seen.seen)
    lab.hub.runner, lab.hub._tally = lab.runner, seen
    jobs = [FAMILIES["sd15"].job(0, num_inference_steps=3) for _ in range(2)]
    for handle, arguments in enumerate(jobs):
        lab.submit(handle, arguments, standing=Standing(0, 0.0, SHAPE))
    lab.run()
    report = seen.report(1e9, idle=True)
    assert report is not None
    stages = [one.stage for one in report.passes]
    assert (stages.count("encode"), stages.count("denoise"), stages.count("decode")) == (2, 3, 1)  # two texts, for both
    assert all(one.ms > 0 for one in report.passes)
    assert {one.handles for one in report.passes if one.stage == "denoise"} == {(0, 1)}
    assert lab.requests[0].passes == 3


def test_an_urgent_request_goes_before_those_that_came_first() -> None:
    """They stay where they are, with their latents, and go on when it is done."""
    lab = Lab(FAMILIES["sd15"].pipeline(torch.float64))
    lab.hub._clock = lambda: 0.0
    arguments = [FAMILIES["sd15"].job(0, torch.float64, num_inference_steps=6) for _ in range(3)]
    for handle in (0, 1):
        lab.submit(handle, arguments[handle], standing=Standing(1, 5.0))
    lab.run_until(lambda: lab.requests[1].step == 2)
    arguments[2] |= {"height": 64, "width": 64}  # another key, so that nobody shares its passes
    lab.submit(2, arguments[2], standing=Standing(0, 9.0))
    lab.run()
    finished = [event[1] for event in lab.events if event[0] == "left"]
    assert finished == [2, 0, 1]
    assert all(lab.images(handle) is not None for handle in range(3))


# ---------------------------------------------------------------------------------------------- the file


def config(path: Path, **options: Any) -> EngineConfig:
    return EngineConfig((ModelSettings("model"),), cost_file=str(path), **options)


def learnt() -> CostModel:
    costs = CostModel()
    for _ in range(3):
        costs.observe("denoise", SHAPE, 2, 0.5)
    return costs


def test_what_was_learnt_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    assert cost_file.load(config(path)).observed == 0
    cost_file.save(config(path), learnt().to_map())
    assert cost_file.load(config(path)).seconds("denoise", SHAPE, 2) == 0.5
    assert [one.name for one in tmp_path.iterdir()] == ["cost.json"]


@pytest.mark.parametrize("change", [{"exact": True}, {"threads": 3}, {"max_rows": 4}])
def test_what_another_engine_has_learnt_is_not_used(
    tmp_path: Path, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cost.json"
    cost_file.save(config(path), learnt().to_map())
    assert not cost_file.load(config(path, **change)).to_map()["curves"]
    assert "learnt anew" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff",
        b'{"engine": 1}',
        b"[" * 100_000,
        json.dumps({"engine": {}, "costs": {}}).encode(),
        b" " * ((16 << 20) + 1),
    ],
    ids=["empty", "half", "list", "null", "not text", "other", "deep", "foreign", "huge"],
)
def test_a_damaged_file_is_no_reason_not_to_start(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cost.json"
    path.write_bytes(content)
    assert not cost_file.load(config(path)).to_map()["curves"]
    assert "learnt anew" in caplog.text


def test_an_engine_without_a_file_learns_from_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    nameless = EngineConfig((ModelSettings("model"),))
    cost_file.save(nameless, learnt().to_map())
    assert cost_file.load(nameless).observed == 0
