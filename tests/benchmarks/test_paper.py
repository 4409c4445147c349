"""The table of REST, gRPC and PXW: its cells, what "better" is, and one real run of the smallest kind."""

import json
from pathlib import Path

import pytest
from benchmarks.measure import Summary
from benchmarks.paper import __main__ as paper


def test_every_way_has_every_large_payload_and_three_have_the_small_ones() -> None:
    cells = [(run.cell, run.column) for run in paper.runs([paper.MIB], 0.1)]
    assert len(cells) == len(set(cells)) == 3 * 3 + len(paper.COLUMNS)
    assert {column for cell, column in cells if cell.startswith("1 MiB")} == set(paper.COLUMNS)
    assert {column for cell, column in cells if cell == paper.ALONE} == {"REST", "gRPC", "PXW"}


def test_better_is_more_a_second_and_less_time() -> None:
    found = {
        "REST": [{paper.ALONE: 10.0, paper.MANY: 100.0}, {paper.ALONE: 10.0, paper.MANY: 100.0}],
        "PXW": [{paper.ALONE: 5.0, paper.MANY: 300.0}, {paper.ALONE: 2.5, paper.MANY: 500.0}],
    }
    assert paper.over(found, "REST") == {
        "PXW": {"small: time": Summary(3.0, 2.0, 4.0), "small, rate": Summary(4.0, 3.0, 5.0)}
    }


def test_a_short_run_fills_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real servers and clients."""
    monkeypatch.setattr(paper, "SIZES", {paper.KIB: "1 KiB"})
    table = list(paper.runs([paper.KIB], 0.01))
    with paper.Stage(tmp_path / "stage", paper.Setting(sizes=(paper.KIB,))) as stage:
        found = paper.measured(stage, table, rounds=1)
    assert {name: len(row) for name, (row,) in found.items()} == {
        "REST": 4, "REST, image as bytes": 1, "gRPC": 4, "gRPC, 256 KiB chunks": 1, "PXW": 4,
    }  # fmt: skip
    assert all(value > 0 for (row,) in found.values() for value in row.values())
    results = paper.measure.summarise(found)
    paper.show(results, paper.over(found, "REST"))
    assert "1 KiB, p50_us" in capsys.readouterr().out
    json.dumps(paper.NOTES)
