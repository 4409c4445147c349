"""Transport benchmark: what is made of the rows, with made-up figures; and a tiny run of every part."""

import argparse
import asyncio
import json
from pathlib import Path

import pytest
from benchmarks.measure import Summary
from benchmarks.transport import __main__ as program
from benchmarks.transport import native, outcome, targets
from benchmarks.transport.clients.echo import MESSAGE
from benchmarks.transport.contestants import (
    AIOHTTP,
    BASE64,
    C_SOCKET,
    CONTESTANTS,
    CORKED,
    DOOR,
    ECHO,
    FASTAPI,
    FDATASYNC,
    GRPC,
    PXW,
    PY_SOCKET,
)
from benchmarks.transport.driving import LOADS, Meter
from benchmarks.transport.parts import fetch, round_trip
from benchmarks.transport.plan import OF, Context, Rounds, Scale
from benchmarks.transport.work import KIB, MIB

TINY = Scale(0.005, 0.001, 0.02, False, 20, (10, 20), 1, sizes=(64 * KIB,), large=64 * KIB)
CORE_WHO = (C_SOCKET, PY_SOCKET, ECHO, CORKED, PXW, AIOHTTP)


def goal(part: str) -> targets.Goal:
    """The one goal whose name contains the text."""
    (found,) = [one for one in targets.goals() if part in one.target.name]
    return found


def test_a_ratio_is_taken_inside_each_round_before_the_median() -> None:
    rounds: Rounds = {
        targets.status(PXW, round_trip.SAME): [{"p50_us": 30.0}, {"p50_us": 100.0}, {"p50_us": 24.0}],
        targets.status(ECHO, round_trip.SAME): [{"p50_us": 20.0}, {"p50_us": 100.0}, {"p50_us": 20.0}],
    }
    found = goal("asyncio client, p50 / uvloop echo")
    assert found.measured(rounds) == Summary(1.2, 1.0, 1.5)
    assert found.target.met(Summary(1.4, 1.0, 9.0))
    assert not found.target.met(Summary(1.41, 1.0, 9.0))


def test_the_best_of_several_peers_counts_round_by_round() -> None:
    grpc = [targets.status(GRPC, targets.MANY), targets.status(GRPC, targets.MANY_CONNECTIONS)]
    rounds: Rounds = {
        targets.status(PXW, targets.MANY): [{"per_s": 800.0}, {"per_s": 800.0}],
        grpc[0]: [{"per_s": 100.0}, {"per_s": 50.0}],
        grpc[1]: [{"per_s": 10.0}, {"per_s": 200.0}],
    }
    assert goal("/ gRPC (").measured(rounds) == Summary(6.0, 4.0, 8.0)


def test_a_target_of_which_a_row_is_missing_is_not_measured() -> None:
    rounds: Rounds = {targets.status(PXW, targets.MANY): [{"per_s": 800.0}]}
    assert goal("/ FastAPI").measured(rounds) is None
    assert all(summary is None for _, summary in targets.measured({}))


def test_the_socket_floor_is_python_only_where_there_is_no_c() -> None:
    size = MIB
    rounds: Rounds = {
        fetch.row(PXW, "", size): [{"mb_per_s": 500.0}],
        fetch.row(PY_SOCKET, "", size): [{"mb_per_s": 2000.0}],
    }
    found = goal("fetch of 1 MiB, MB/s / a C socket")
    assert found.measured(rounds) == Summary(0.25, 0.25, 0.25)
    rounds[fetch.row(C_SOCKET, "", size)] = [{"mb_per_s": 1000.0}]
    assert found.measured(rounds) == Summary(0.5, 0.5, 0.5)


def test_milliseconds_and_figures_without_a_floor() -> None:
    beside = goal("STATUS beside 16 MiB fetches, p99")
    rounds: Rounds = {beside.row: [{"p99_us": 1500.0}]}
    assert beside.measured(rounds) == Summary(1.5, 1.5, 1.5)
    assert beside.target.unit == "ms"


def test_every_goal_is_made_of_rows_that_are_measured() -> None:
    context = Context(TINY, 1, Path())
    known = {round_trip.row(*one) for one in round_trip.wanted(context)}
    known |= {round_trip.row(floor, "submit", load) for floor, load in round_trip.FLOORS.items()}
    known |= {fetch.row(*one) for one in fetch.wanted(Context(program.FULL, 1, Path()))}
    known |= {targets.small.row(PXW, "")}
    for one in targets.goals():
        assert {one.row, *(row for rows in one.over for row in rows)} <= known, one.target.name
    assert len(list(targets.goals())) == 24


def test_tables_ratios_and_answers() -> None:
    table = f"status, {round_trip.SAME}"
    rounds: Rounds = {
        f"{table}{OF}{ECHO}": [{"count": 5.0, "p50_us": 20.0}, {"count": 7.0, "p50_us": 40.0}],
        f"{table}{OF}{PXW}": [{"count": 5.0, "p50_us": 30.0}, {"count": 5.0, "p50_us": 40.0}],
        f"{table}{OF}{FASTAPI}": [{"count": 5.0, "p50_us": 300.0}, {"count": 5.0, "p50_us": 400.0}],
        f"submit, {round_trip.SAME}{OF}{PXW}": [{"p50_us": 30.0}, {"p50_us": 40.0}],
        f"submit, {round_trip.SAME}{OF}{FDATASYNC}": [{"p50_us": 15.0}, {"p50_us": 10.0}],
    }
    found = outcome.tables(rounds)
    assert found[table][ECHO] == {"p50_us": Summary(30.0, 20.0, 40.0)}
    assert outcome.ratios(rounds) == {
        f"{table}: over {ECHO}": {
            ECHO: Summary(1.0, 1.0, 1.0),
            PXW: Summary(1.25, 1.0, 1.5),
            FASTAPI: Summary(12.5, 10.0, 15.0),
        },
        f"submit, {round_trip.SAME}: over {FDATASYNC}": {PXW: Summary(3.0, 2.0, 4.0), FDATASYNC: Summary(1, 1, 1)},
    }
    (row,) = outcome.why(found)
    assert row["pixwire"] == "35 µs"
    assert row["best HTTP"] == row["FastAPI"] == "350 µs"
    assert row["pixwire against the best HTTP"] == "10x"


def test_the_plain_name_of_a_way_to_fetch() -> None:
    assert outcome.plain(f"{GRPC}, chunks of 64 KiB") == GRPC
    assert outcome.plain(f"{FASTAPI}{fetch.way(BASE64)}") == FASTAPI
    assert outcome.plain("FastAPI, httpx") == "FastAPI, httpx"


def test_a_meter_counts_only_what_happens_between_start_and_end() -> None:
    meter = Meter([])
    meter.start()
    found = meter.requests([0.001, 0.002, 0.003])
    assert (found["count"], found["p50_us"], found["p99_us"]) == (3.0, 2000.0, 3000.0)
    assert found["server_cpu_us"] == 0.0
    assert found["client_cpu_us"] > 0.0
    meter.start()
    assert set(meter.fetches([0.5], MIB)) == {
        "count",
        "p50_us",
        "mb_per_s",
        "server_cpu_s_per_gib",
        "client_cpu_s_per_gib",
    }


def test_loads_have_as_many_lanes_as_they_say() -> None:
    assert {name: load.lanes for name, load in LOADS.items()} == {
        "one at a time": 1,
        "64 on one connection": 64,
        "64 connections": 64,
    }
    assert round_trip.takes(CONTESTANTS[DOOR], LOADS["64 connections"])
    assert not round_trip.takes(CONTESTANTS[DOOR], LOADS["64 on one connection"])


def test_the_echoed_message_is_a_whole_frame() -> None:
    assert len(MESSAGE) == 12 + int.from_bytes(MESSAGE[1:4], "big")


def test_unknown_parts_and_contestants_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        program.options(["--only", "round-trip,flight"])
    assert "there is no flight; parts: round-trip,fetch" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        program.options(["--who", "nobody"])
    assert "there is no nobody" in capsys.readouterr().err
    assert program.options(["--who", "FastAPI, httpx;gRPC"]).who == ("FastAPI, httpx", "gRPC")


def test_a_tiny_run_of_the_parts_on_one_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "QUICK", TINY)
    file = tmp_path / "transport.json"
    arguments = ["--quick", "--only", "round-trip,fetch,small", "--json", str(file), "--plots", str(tmp_path)]
    program.main(program.options([*arguments, "--who", ";".join(CORE_WHO)]))
    data = json.loads(file.read_text())
    context = Context(TINY, 1, tmp_path, only=CORE_WHO)
    rows = {round_trip.row(*one) for one in round_trip.wanted(context)} | {
        fetch.row(*one) for one in fetch.wanted(context)
    }
    if native.compiler() is None:
        rows = {row for row in rows if not row.endswith(C_SOCKET)}
    for row in rows:
        table, _, contestant = row.partition(OF)
        figures = data[table][contestant]
        assert all(value["median"] > 0 for key, value in figures.items() if "cpu" not in key), row
    assert data["benchmark"] == "transport"
    assert len(data["targets"]) == 24
    assert {one["name"] for one in data["targets"] if one["met"] is not None} >= {
        "STATUS, asyncio client, p50 / uvloop echo (same core)",
        "SUBMIT (durable), p50 / bare fdatasync",
        "STATUS beside 16 MiB fetches, p99",
    }
    assert {(tmp_path / f"{name}.svg").exists() for name in data["plots"]} == {True}
    assert "transport_round_trip" in data["plots"]


@pytest.mark.parametrize("part", [program.crowds.watchers, program.crowds.connections])
async def test_a_small_crowd(part: program.Part, tmp_path: Path) -> None:
    with Context(TINY, 1, tmp_path, only=(PXW,)) as context:
        rounds = await part.run(context)
    (figures,) = rounds[f"{part.title}{OF}{PXW}"]
    if part is program.crowds.connections:
        assert figures["connections"] == 20.0
    else:
        assert figures["watched_p50_us"] > 0
        assert figures["stalled_p99_us"] >= figures["stalled_p50_us"] > 0


def test_without_a_compiler_there_is_no_c_floor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert native.compile_floor(tmp_path) is None


def test_the_durable_floors_write(tmp_path: Path) -> None:
    assert round_trip.written(tmp_path, 0.001)["count"] >= 1
    assert (tmp_path / "floor.log").stat().st_size >= 2 * len(round_trip.record())
    found = round_trip.committed(tmp_path, 0.001, 64)
    assert found["count"] % 64 == 0


def test_options_that_all_benchmarks_have() -> None:
    given: argparse.Namespace = program.options(["--quick"])
    assert (given.quick, given.rounds, given.only) == (True, 1, ())
    assert asyncio.run(program.measure_parts(Context(TINY, 1, Path()), ())) == {}
