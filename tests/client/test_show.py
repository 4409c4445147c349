"""How work in progress looks."""

import io

import pytest
from rich.console import Console

from pixwire.cli.show import Bars, Display, Lines, describe, display
from pixwire.events import Event, Preview, Progress, StateChange
from pixwire.image import Image
from pixwire_protocol.status import JobError, JobState, JobStatus


def state(name: str, **more: object) -> StateChange:
    return StateChange("j", 1, JobStatus(job="j", kind="txt2img", state=JobState(name), seq=1, **more))  # type: ignore[arg-type]


BROKEN = JobError(code=1285, name="PIPELINE_ERROR", message="bad \x1b[31m thing")
STORY: list[Event] = [
    state("queued", queue_position=2),
    state("queued", queue_position=1),
    state("running", steps=4),
    Progress("j", 2, 3, 4),
    Preview("j", 3, 3, 4, Image(memoryview(b""), "image/jpeg", 1, 1)),
    state("succeeded", step=4, steps=4),
]


def tell(shown: Display) -> None:
    with shown:
        shown.note("about to [start]")
        for event in STORY:
            shown.update("a [red] circle", event)


@pytest.mark.req("PXW-SEC-006")
def test_words() -> None:
    assert [describe(event) for event in STORY[:4]] == [
        "queued, about place 2 in the queue",
        "queued, about place 1 in the queue",
        "running",
        "step 3 of 4",
    ]
    assert describe(state("running", eta_ms=2_340)) == "running, about 2.3 s to go"
    assert describe(state("queued", queue_position=3, eta_ms=150_000)).endswith("queue, about 2 min to go")
    assert describe(state("failed", error=BROKEN)) == "failed: bad \\x1b[31m thing"


def test_bars() -> None:
    file = io.StringIO()
    tell(Bars(Console(file=file, force_terminal=True, width=100, color_system=None, highlight=False)))
    text = file.getvalue()
    assert "about to [start]" in text
    assert "a [red] circle" in text
    assert "succeeded" in text


def test_lines() -> None:
    file = io.StringIO()
    tell(Lines(Console(file=file, width=20)))
    assert file.getvalue().splitlines() == [
        "about to [start]",
        "a [red] circle: queued, about place 2 in the queue",
        "a [red] circle: running",
        "a [red] circle: succeeded",
    ]


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    tell(display(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_long_prompts_are_shortened() -> None:
    file = io.StringIO()
    with Lines(Console(file=file)) as shown:
        shown.update("word " * 100 + "\n\x1b[2J", state("running"))
    (line,) = file.getvalue().splitlines()
    assert line == "word " * 7 + "word…: running"
