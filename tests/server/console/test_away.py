"""The console when its server is away, asks who is there, or stops; before a server process without a model."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from checks import readable

from pixwire_server.doors.tokens import entry_for

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect
OLGA = entry_for("olga", "operator-token", roles=("admin",)) + "\n"
ALICE = entry_for("alice", "alice-token") + "\n"
TOY = Path(__file__).parent / "toy_server.py"


class Toy:
    """One server process; `start` again is a restart on the same port, with the same jobs."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.command = [sys.executable, str(TOY), str(data_dir)]
        self.options = options
        self.url = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> "Toy":
        port = self.url.rpartition(":")[2] or "0"
        self.process = subprocess.Popen([*self.command, port, *self.options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        found = re.search(r"http://[^\s,]+", self.process.stdout.readline())
        assert found, "the toy server did not start"
        self.url = found[0]
        return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Its exit code."""
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(30)
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.signal(signal.SIGKILL)
            self.signal(signal.SIGCONT)
            self.wait()


@pytest.fixture
def toy(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Toy]]:
    """Makes servers that are killed at the end."""
    made: list[Toy] = []

    def make(*options: str) -> Toy:
        made.append(Toy(tmp_path / "data", *options).start())
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Of an operator and of alice."""
    path = tmp_path / "tokens.toml"
    path.write_text(OLGA + ALICE)
    return path


def submit(url: str, job: str, prompt: str = "hold it", token: str = "") -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    answer = httpx.post(f"{url}/v1/jobs", json={"job": job, "params": {"prompt": prompt}}, headers=headers)
    assert answer.status_code == 201, answer.text


def test_it_says_when_it_is_stale_and_comes_back_after_a_restart(
    toy: Callable[..., Toy], open_page: Any, complaints: Any
) -> None:
    complaints.expected += ["ERR_", "Failed to load resource"]
    server = toy()
    submit(server.url, "before")
    page = open_page(server.url)
    link = page.locator("#link-text")
    expect(page.locator(".card[data-job=before]")).to_have_count(1)
    expect(link).to_have_text("Live")
    server.signal(signal.SIGSTOP)
    expect(link).to_have_text("Stale")
    page.get_by_text("what you see is older").wait_for()
    readable(page)
    server.signal(signal.SIGCONT)
    expect(link).to_have_text("Live")
    assert page.get_by_text("what you see is older").count() == 0
    server.kill()
    expect(link).to_have_text("Reconnecting")
    page.get_by_role("button", name="Try now").wait_for()
    readable(page)
    server.start()
    page.evaluate("document.querySelector('#banners button')?.click()")  # if it has not come back by itself yet
    expect(link).to_have_text("Live")
    expect(page.locator(".card[data-job=before]")).to_have_count(1)  # it is durable
    submit(server.url, "after")
    expect(page.locator(".card[data-job=after]")).to_have_count(1)


def test_a_job_whose_answer_was_lost_is_made_once(toy: Callable[..., Toy], open_page: Any, complaints: Any) -> None:
    complaints.expected += ["ERR_", "Failed to load resource"]
    server = toy()
    page = open_page(server.url)
    lost: list[Any] = []

    def lose(route: Any) -> None:
        """The server hears it, the page does not hear the server; the second time it does."""
        if route.request.method != "POST":
            route.fallback()
        elif lost:
            route.continue_()
        else:
            lost.append(route.fetch())
            route.abort("connectionreset")

    page.route("**/v1/jobs", lose)
    page.get_by_label("Prompt", exact=True).fill("a red circle")
    page.get_by_role("button", name="Make the image").click()
    expect(page.locator("#results a.shot img")).to_have_count(1)
    assert lost[0].status == 201
    assert len(httpx.get(f"{server.url}/v1/jobs").json()["jobs"]) == 1
    page.unroute("**/v1/jobs")
    page.context.set_offline(True)
    page.get_by_role("button", name="Make the image").click()
    page.locator("#form-error").get_by_text("the server cannot be reached").wait_for()


def test_a_token_is_asked_for_and_kept_in_the_tab(
    toy: Callable[..., Toy], tokens: Path, open_page: Any, complaints: Any
) -> None:
    complaints.expected.append("401 (Unauthorized)")
    server = toy("--tokens", str(tokens))
    submit(server.url, "alices", token="alice-token")
    page = open_page(server.url)
    field = page.get_by_label("Token", exact=True)
    field.wait_for()
    assert page.evaluate("document.activeElement.id") == "token"
    readable(page)
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="the credentials are wrong").wait_for()
    field.fill("operator-token")
    page.keyboard.press("Enter")
    expect(page.locator("#link-text")).to_have_text("Live")
    assert page.locator("#who").inner_text() == "olga"
    assert "operator-token" not in page.content() + page.url
    assert page.evaluate("Object.values(localStorage).join()").count("token") == 0
    cancel = page.get_by_role("button", name="Cancel job alices")  # of another principal: an operator's right
    cancel.click()
    expect(page.locator(".card")).to_have_count(0)
    page.reload()
    expect(page.locator("#link-text")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    field.wait_for()
    assert page.evaluate("sessionStorage.getItem('pixwire.token')") is None
    field.fill("operator-token")
    page.keyboard.press("Enter")
    expect(page.locator("#link-text")).to_have_text("Live")
    tokens.write_text(ALICE)  # hers is withdrawn
    server.signal(signal.SIGHUP)
    field.wait_for()
    assert page.locator("#console").is_hidden()


def test_without_the_role_there_are_only_the_own_jobs(
    toy: Callable[..., Toy], tokens: Path, open_page: Any, complaints: Any
) -> None:
    complaints.expected.append("401 (Unauthorized)")
    server = toy("--tokens", str(tokens))
    submit(server.url, "olgas", token="operator-token")
    submit(server.url, "alices", token="alice-token")
    page = open_page(server.url)
    page.get_by_label("Token", exact=True).fill("alice-token")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="My jobs 1").wait_for()
    page.get_by_text("You see the jobs of alice only").wait_for()
    readable(page)
    text = page.locator("body").inner_text()
    assert "olgas" not in text
    for name in ("Pause", "Drain…", "Load toy", "Unload toy"):
        assert page.get_by_role("button", name=name, exact=True).count() == 0
    page.get_by_label("Prompt", exact=True).fill("a red circle")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#results a.shot img")).to_have_count(1)
    page.get_by_role("button", name="Cancel job alices").click()
    page.get_by_role("heading", name="My jobs 0").wait_for()


def test_an_operator_stops_the_server(toy: Callable[..., Toy], open_page: Any, complaints: Any) -> None:
    complaints.expected += ["ERR_", "Failed to load resource"]
    server = toy("--drain_grace_s", "3")
    submit(server.url, "runs")
    page = open_page(server.url)
    expect(page.locator(".card[data-job=runs]")).to_have_count(1)
    page.get_by_role("button", name="Drain…").click()
    page.get_by_role("button", name="Never mind").click()
    page.get_by_role("button", name="Drain…").click()
    page.get_by_role("button", name="Drain and stop").click()
    page.get_by_text("The server is stopping").wait_for()
    assert server.wait() == 0
    expect(page.locator("#link-text")).to_have_text("Reconnecting")
