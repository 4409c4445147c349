"""Records in, the right page out; what is missing or broken is said to be."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from benchmarks import plots
from benchmarks.catalog import BENCHMARKS, Benchmark
from benchmarks.measure import Summary, Target
from benchmarks.report import figures, html, markdown, read
from benchmarks.report.__main__ import main
from benchmarks.report.model import Cell, Verdict

ALPHA = Benchmark("alpha", "Alpha <b>", "About & alpha.", ("benchmarks.alpha",), ("--quick",), 10)
BETA = Benchmark("beta", "Beta", "About beta.", ("benchmarks.beta",), None, 10, plots=True)
VOID = ("meta", "hr", "br", "img", "path", "use", "rect", "line")


def a_record(**more: Any) -> dict[str, Any]:
    return {
        "benchmark": "alpha",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux 6", "versions": {"uvloop": "0.23", "torch": None}},
        "command": "python -m benchmarks.alpha",
        "recorded": "2026-11-22",
        "rounds": 5,
        "results": {
            "echo": {"p50_us": {"median": 40.0, "low": 38.0, "high": 44.0}},
            "pixwire": {"p50_us": {"median": 60.0, "low": 55.0, "high": 1234.5}},
        },
        "ratios": {"over echo": {"pixwire": {"median": 1.5, "low": 1.4, "high": 1.6}}},
        **more,
    }


def put(folder: Path, name: str, data: object) -> None:
    (folder / f"{name}.json").write_text(json.dumps(data))


class Page(HTMLParser):
    """Checks that tags are closed in order, and keeps the ids, the links and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for value in [values.get("id")] if value]
        self.links += [value for value in [values.get("href"), values.get("src")] if value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for value in [values.get("id")] if value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_figures_ratios_and_ranges_are_those_of_the_record(tmp_path: Path) -> None:
    put(tmp_path, "alpha", a_record())
    (section,) = read.read(tmp_path, [ALPHA]).sections
    results, ratios = section.tables
    assert results.columns == ["", "p50, µs"]
    assert [[str(cell) for cell in row] for row in results.rows] == [
        ["echo", "40 (38-44)"],
        ["pixwire", "60 (55-1,234)"],
    ]
    assert [str(cell) for cell in ratios.rows[0]] == ["pixwire", "1.5 (1.4-1.6)"]
    assert section.machine["packages"] == "uvloop 0.23"
    assert section.command == "python -m benchmarks.alpha"


@pytest.mark.parametrize(
    ("op", "limit", "median", "verdict", "words"),
    [
        ("<=", 1.4, 0.7, Verdict.MET, "2.0 times better"),
        ("<=", 1.4, 1.12, Verdict.MET, "25 % better"),
        ("<=", 1.4, 1.4, Verdict.MET, "less than 1 % better"),
        ("<=", 1.4, 1.75, Verdict.MISSED, "by 25 %"),
        ("<=", 1.4, 14.0, Verdict.MISSED, "by 10.0 times"),
        (">=", 10.0, 12.0, Verdict.MET, "20 % better"),
        (">=", 10.0, 8.0, Verdict.MISSED, "by 25 %"),
        (">=", 10.0, 0.0, Verdict.MISSED, "by everything"),
    ],
)
def test_a_target_says_by_how_much(
    tmp_path: Path, op: str, limit: float, median: float, verdict: Verdict, words: str
) -> None:
    target = Target("t", op, limit, "study").record(Summary(median, median, median))  # type: ignore[arg-type]
    put(tmp_path, "alpha", a_record(targets=[target, Target("u", "<=", 2, "study", "ms").record(None)]))
    report = read.read(tmp_path, [ALPHA])
    first, second = report.goals
    assert (first.verdict, first.margin) == (verdict, words)
    assert (second.verdict, second.limit, second.measured.text) == (Verdict.OPEN, "≤ 2 ms", "-")
    assert report.count(Verdict.OPEN) == 1
    met = int(verdict is Verdict.MET)
    assert markdown.verdict(report).startswith(f"{met} of 2 targets are met")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "not run yet"),
        ("{broken", "alpha.json cannot be read: Expecting property name"),
        ("[1]", "alpha.json holds a list, not a record"),
        ('{"targets": [{"name": "t"}]}', "not of the shape that benchmarks write: KeyError: 'limit'"),
        ('{"machine": 3}', "not of the shape that benchmarks write"),
        ("\udcff", "cannot be read"),
    ],
)
def test_what_is_missing_or_broken_is_named_and_stops_nothing(tmp_path: Path, text: str | None, reason: str) -> None:
    put(tmp_path, "beta", a_record())
    if text is not None:
        (tmp_path / "alpha.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    report = read.read(tmp_path, [ALPHA, BETA])
    assert [one.key for one in report.sections] == ["beta"]
    (missing,) = report.missing
    assert reason in missing.reason
    assert missing.command == "python -m benchmarks.alpha --json benchmarks/results/alpha.json"
    assert missing.reason in Page(html.page(report)).text
    assert f"Alpha <b>: {missing.reason}" in markdown.page(report)


def test_why_not_http_comes_from_the_data_or_is_missing(tmp_path: Path) -> None:
    rows = [{"question": "a status", "pixwire": "61 µs", "HTTP": "480 µs"}]
    put(tmp_path, "alpha", a_record())
    assert markdown.NO_ANSWER in markdown.readme(read.read(tmp_path, [ALPHA]))
    put(tmp_path, "alpha", a_record(why=rows))
    text = markdown.readme(read.read(tmp_path, [ALPHA]))
    assert text.startswith("| question | pixwire | HTTP |\n| --- | ---: | ---: |\n| a status | 61 µs | 480 µs |\n")


def test_the_answers_of_all_records_are_one_table_with_the_sum_last(tmp_path: Path) -> None:
    last = "pixwire against the best HTTP"
    put(tmp_path, "alpha", a_record(why=[{"question": "a", "pixwire": "1 µs", last: "8x"}]))
    put(tmp_path, "beta", a_record(why=[{"question": "b", "pixwire": "2 µs", "gRPC": "9 µs"}]))
    (table,) = read.read(tmp_path, [ALPHA, BETA]).why
    assert table.columns == ["question", "pixwire", "gRPC", last]
    assert [[cell.text for cell in row] for row in table.rows] == [["a", "1 µs", "-", "8x"], ["b", "2 µs", "9 µs", "-"]]
    assert table.title == ""
    put(tmp_path, "beta", a_record(quick=True, why=[{"question": "b"}]))
    assert read.read(tmp_path, [ALPHA, BETA]).why[0].title == read.QUICK_WARNING


def test_a_page_is_whole_and_needs_nothing_else(tmp_path: Path) -> None:
    plots.bars(tmp_path, "beta_x", {"g": {"echo": Summary(1, 1, 1), "pixwire": Summary(2, 1, 3)}}, title="T", label="x")
    plots.lines(tmp_path, "beta_y", {"pixwire": [(1, 1.0), (2, Summary(2, 1, 3))]}, title="L", labels=("x", "y"))
    targets = [Target("t", "<=", 1, "s").record(Summary(2, 1, 3))]
    put(tmp_path, "alpha", a_record(targets=targets, notes=["a & note"], why=[{"question": "q", "pixwire": "1 µs"}]))
    put(tmp_path, "beta", a_record(quick=True))
    put(tmp_path, "zeta", {"benchmark": "zeta", "verdict": "well", "did": {"jobs": 3}})
    text = html.page(read.read(tmp_path, [ALPHA, BETA]))
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert not re.search(r"(src|href)=\"(?!#)|url\((?!#)|@import|<script", text)
    assert "Alpha <b>" in page.text
    assert "About & alpha." in page.text
    assert "a & note" in page.text
    assert "it shows that the benchmark works and is no result" in page.text
    assert text.count("<svg") == 2
    for colour in (plots.INK, plots.GROUND, plots.FAINT):
        assert colour not in text.split("</style>", 1)[1]
    assert "var(--ink)" in text.split("</style>", 1)[1]
    assert "prefers-color-scheme: dark" in text


def test_every_record_of_the_repository_can_be_read() -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "results"
    report = read.read(folder)
    assert [one for one in report.missing if one.reason != "not run yet"] == []
    for section in report.sections:
        assert section.tables
        assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows)
    Page(html.page(report))
    assert markdown.page(report).count("\n## ") >= len(report.sections)


def test_headings_name_units() -> None:
    names = ["p50_us", "per_s", "images_per_s", "mb_per_s", "rss_bytes", "seconds for all", "fetch_16_mib"]
    found = ["p50, µs", "per second", "images per second", "MB/s", "rss, bytes", "seconds for all", "fetch 16, MiB"]
    assert [figures.heading(name) for name in names] == found


def test_what_looks_like_a_figure_stands_to_the_right() -> None:
    assert all(figures.cell(text).figure for text in ("61 µs", "7.8x", "1.54 (1.18-2.51)", "10,466", "-3"))
    assert not any(figures.cell(text).figure for text in ("1 MiB image", "", "n/a", "7.8 times faster"))


def test_one_figure_for_each_contestant_is_a_column_of_the_results(tmp_path: Path) -> None:
    put(tmp_path, "alpha", a_record(bound_us={"echo": 41.0, "pixwire": 82.0}))
    (section,) = read.read(tmp_path, [ALPHA]).sections
    assert section.tables[0].columns == ["", "p50, µs", "bound, µs"]
    assert section.tables[0].rows[1][2] == Cell("82", "", figure=True)


def test_a_table_that_is_too_long_says_so() -> None:
    table = figures.table("t", [{"n": number} for number in range(100)])
    assert table is not None
    assert len(table.rows) == figures.MOST_ROWS
    assert table.title == "t (20 more rows in the record)"


def test_the_command_writes_both_forms_and_prints_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "journal", a_record())
    main(["--folder", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"journal.json", "report.html", "report.md"}
    capsys.readouterr()
    main(["--folder", str(tmp_path), "--section", "journal"])
    assert capsys.readouterr().out.startswith('## What "on disk" costs\n')
    with pytest.raises(SystemExit, match="there is no record 'x'; there are journal"):
        main(["--folder", str(tmp_path), "--section", "x"])
    with pytest.raises(SystemExit, match="there is no folder"):
        main(["--folder", str(tmp_path / "none")])


def test_the_table_of_benchmarks_names_modules_that_are_there() -> None:
    root = Path(__file__).parents[2]
    for one in BENCHMARKS:
        place = root / one.arguments[0].replace(".", "/")
        assert place.with_suffix(".py").exists() or (place / "__main__.py").exists(), one.record
    assert len({one.record for one in BENCHMARKS}) == len(BENCHMARKS)
    assert sum(one.quick_seconds for one in BENCHMARKS if one.bundled and one.quick is not None) < 180
