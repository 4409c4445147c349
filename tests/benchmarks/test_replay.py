"""The comparison of the server with the simulator: the same figures from both sides, and requests for the same work."""

import json
from pathlib import Path

import pytest
from benchmarks.scheduling import curves, replay, traces

from pixwire_server.scheduling.cost import CostModel, Shape, Work

HOST = curves.recorded()
BUSY = next(kind for kind in traces.KINDS if kind.name == "busy")


def test_a_server_that_does_what_was_foretold_is_at_one() -> None:
    trace = traces.draw(BUSY, HOST, 30, seed=1)
    _, latencies = replay.foretold(trace, HOST)
    told = [
        replay.Told(job, latency, latency, float(job.work.steps), job.work.steps / 2)
        for job, latency in zip(trace, latencies, strict=True)
    ]
    found = replay.compare(trace, HOST, told, 100.0)
    assert found["job_latency_over_simulated"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    assert found["job_latency_over_eta"] == {"p10": 1.0, "p50": 1.0, "p90": 1.0}
    assert found["measured_over_simulated"]["latency_mean"] == pytest.approx(1.0, abs=0.1)
    assert set(found["measured"]) == set(replay.FIGURES) == set(found["simulated"])
    json.dumps(found)


def test_jobs_that_were_not_finished_are_missed_deadlines() -> None:
    trace = [
        traces.Job(0, 0.0, "p1", 1, Work(HOST.shapes[0], 4)),
        traces.Job(1, 0.0, "p1", 1, Work(HOST.shapes[0], 4), deadline=1.0),
        traces.Job(2, 0.0, "p1", 1, Work(HOST.shapes[0], 4), deadline=1.0),
    ]
    told = [
        replay.Told(trace[0], 2.0, 1.0, 4.0, 2.0),
        replay.Told(trace[1], 0.5, None, 4.0, 2.0),
        replay.Told(trace[2], None, None),
    ]
    found = replay.measured(told, 3.0)
    assert (found["hits"], found["latency_mean"], found["rows_per_pass"]) == (0.5, 2.0, 2.0)


def test_a_request_asks_for_the_work_of_the_trace() -> None:
    work = Work(Shape("128", 128 * 128), 20, rows=2, images=2)
    asked = replay.request(work, 7)
    assert (asked["width"], asked["height"], asked["steps"], asked["count"], asked["seed"]) == (128, 128, 20, 2, 7)
    assert asked["guidance_scale"] == 1.0, "with guidance an image would be two rows"


def test_what_a_server_has_learnt_is_a_machine(tmp_path: Path) -> None:
    model = CostModel()
    for size in replay.SIZES:
        shape = Shape(f"some/model@cpu/float32:{size}x{size}", size * size)
        for rows, seconds in ((1, 0.1), (4, 0.2)):
            model.observe("denoise", shape, rows, seconds * size / 64)
        model.observe("decode", shape, 1, 0.01)
    model.observe("encode", Shape("some/model@cpu/float32:64x64", 4096), 1, 0.001)
    model.observe("denoise", Shape("some/model@cpu/float32:32x32", 1024), 1, 9.0)
    server = replay.Server(tmp_path, ["p1"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cost.json").write_text(json.dumps({"costs": model.to_map()}))
    machine = server.learnt()
    assert [shape.name for shape in machine.shapes] == ["64", "128"]
    assert machine.seconds("denoise", machine.shapes[1], 4) == pytest.approx(0.4)
    assert machine.seconds("encode", machine.shapes[1], 1) == pytest.approx(0.001)
    assert traces.draw(BUSY, machine, 5, seed=0)
