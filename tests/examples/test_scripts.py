"""The short examples: each is run as it is, and its pictures are looked at."""

import gc
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

import pixwire

from .conftest import EXAMPLES, Run, load, shows


@pytest.mark.parametrize("name", ["getting_started", "getting_started_async"])
def test_getting_started(name: str, here: Path, server: Any) -> None:
    """Five lines, with a fixed URL: it alone is replaced."""
    text = (EXAMPLES / f"{name}.py").read_text()
    assert text.count('"pixwire://localhost"') == 1
    exec(compile(text.replace("pixwire://localhost", server.url), name, "exec"), {})
    shows(here / "circle.png", middle="red", corner="blue")


def test_five_lines_are_five() -> None:
    lines = [line for line in (EXAMPLES / "getting_started.py").read_text().splitlines() if line.strip()]
    assert len(lines) <= 5


def test_embedded(run: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("embedded")
    shows(here / "star.png", middle="green", corner="white")
    assert (here / "journal" / "journal.sqlite3").exists()
    assert "jobs and images are kept in" in capsys.readouterr().err


def test_pipeline(run: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("pipeline")
    shows(here / "circle.png", middle="red", corner="blue")
    assert capsys.readouterr().out.splitlines() == [f"step {step}" for step in range(1, 13)]


def test_images_in(run: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("images_in")
    shows(here / "circle.png", middle="red", corner="white")
    shows(here / "green.png", middle="green", corner="white")
    before, after = (pixwire.Image.open(here / name).to_numpy().astype(int) for name in ("circle.png", "half.png"))
    changed = abs(before - after).max(axis=2)
    assert changed[:, :28].max() < 60, "what is black in the mask stays"
    assert (changed[:, 40:] > 100).mean() > 0.7, "what is white in the mask is painted anew"
    assert "takes image, mask; no control image" in capsys.readouterr().out


def test_deadlines(run: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("deadlines")
    shows(here / "page.png", middle="red", corner="white")
    shows(here / "night.png", middle="blue")
    said = capsys.readouterr().out
    assert "too late" in said
    assert "refused" in said or "expired" in said
    assert said.splitlines()[-1].endswith("succeeded low")


def test_retries(run: Run, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("retries", "a red circle on a white background", exits=2)
    shows(here / "patient.png", middle="red", corner="white")
    assert "steps was 500" in capsys.readouterr().err


def test_patience_with_a_paused_server(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try is refused; what refused it ends; a later one gets the image."""
    refused: list[str] = []

    def on_call(call: pixwire.CallRecord) -> None:
        if call.outcome != "ok":
            refused.append(call.outcome)

    def resume(seconds: float) -> None:
        assert seconds > 0, "the server says when to come back"
        with pixwire.Client(server.url) as operator:
            operator.admin("resume")

    monkeypatch.setattr(time, "sleep", resume)  # the pause between two tries, made of what it waits for

    with pixwire.Client(server.url, on_call=on_call) as client:
        client.admin("pause", reason="a test")
        try:
            image = load("retries").patient(client, "a red circle", seed=7, steps=2)
        finally:
            client.admin("resume")
    assert refused == ["Paused"]
    assert image.seed == 7


def test_patience_with_a_lost_connection(client: pixwire.Client) -> None:
    """The answer of the first try is lost; the second one gets the image of the same job."""

    class Flaky:
        tries = 0

        def generate(self, prompt: str, **arguments: Any) -> pixwire.Image:
            image = client.generate(prompt, **arguments)
            self.tries += 1
            if self.tries == 1:
                raise pixwire.ConnectionLost("the line was cut", processed="maybe", job=arguments["job_id"])
            return image

    flaky = Flaky()
    image = load("retries").patient(flaky, "a red circle", steps=2, tags=["patience"])
    assert flaky.tries == 2
    (job,) = client.jobs(tag="patience")
    assert job.job == image.job


def test_observability(
    run: Run, here: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run("observability")
    said = capfd.readouterr()
    spans = json.loads("[" + said.out.replace("}\n{", "},{") + "]")
    by_name = {span["name"]: span for span in spans}
    assert by_name["pixwire generate"]["parent_id"] == by_name["order"]["context"]["span_id"]
    assert [text.split()[:2] for text in caplog.messages if "->" in text or "<-" in text] == [
        ["->", "generate"],
        ["<-", "generate"],
    ]
    assert "generate ok: 1, " in said.err


def test_preview_in_a_terminal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("preview_terminal")
    said = capsys.readouterr().out
    assert said.count("step ") >= 2, "previews were shown"
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    stream.feed(said.replace("\n", "\r\n"))
    colours = [[int(screen.buffer[y][x].fg[at : at + 2], 16) for at in (0, 2, 4)] for x, y in ((16, 8), (1, 1))]
    assert max(colours[0]) == colours[0][0], "the middle is red"
    assert max(colours[1]) == colours[1][2], "the corner is blue"
    assert screen.display[16].rstrip() == "seed 7", "each picture was drawn over the one before"
    assert screen.display[17].strip() == ""


def test_preview_for_a_window(server: Any) -> None:
    """All but the window itself: what the thread has to show."""
    painter = load("preview_window").Painter(server.url)
    painter.start("a red circle on a blue background").join(60)
    shown = []
    while not painter.news.empty():
        shown.append(painter.news.get())
    painter.close()
    assert len(shown) > 1, "previews were shown"
    assert all(words.startswith("step ") for _, words in shown[:-1])
    image, words = shown[-1]
    assert words.startswith("done, seed ")
    shows(image, middle="red", corner="blue")


@pytest.fixture
def display(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An X server of its own."""
    if shutil.which("Xvfb") is None:
        pytest.skip("a window needs a display, and Xvfb is not installed")
    command = ["Xvfb", "-displayfd", "1", "-screen", "0", "640x640x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as screen:
        assert screen.stdout is not None
        monkeypatch.setenv("DISPLAY", f":{screen.stdout.readline().strip()}")
        yield
        gc.collect()  # here and now: Tcl ends the process when its interpreter is collected in another thread
        screen.terminate()


def test_preview_in_a_window(run: Run, display: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Return is pressed in the entry; the picture comes up in the window."""
    tk = pytest.importorskip("tkinter")
    said, middle = [], []

    def drive(window: Any, _: int = 0) -> None:
        entry, picture, text = window.winfo_children()
        entry.focus_force()
        window.update()
        entry.event_generate("<Return>")
        while not text["text"].startswith("done"):
            window.update()
            said.append(text["text"])
        middle.extend(window.tk.call(str(picture["image"]), "get", 192, 192))
        window.destroy()

    monkeypatch.setattr(tk.Misc, "mainloop", drive)
    run("preview_window")
    assert any(words.startswith("step ") for words in said)
    assert max(middle) == middle[0], "red"


def test_several_servers(
    run: Run, here: Path, new_server: Any, server: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    other = new_server().start()
    monkeypatch.setenv("PIXWIRE_URLS", f"{server.url},{other.url}")
    run("several_servers")
    for number, colour in enumerate(("red", "green", "blue")):
        shows(here / f"{number}.png", middle=colour)
    said = dict(line.rsplit(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said.keys() == {server.url, other.url}, "both have worked"
    assert sum(int(words.split()[0]) for words in said.values()) == 9
