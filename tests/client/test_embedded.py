"""`pixwire.embedded`, with a server process that makes plain squares: what is left of it when, which is nothing."""

import asyncio
import importlib.util
import io
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import pixwire
from pixwire import embedding as module
from pixwire.embedding import Server
from pixwire.url import parse_url

HERE = Path(__file__).parent
SECONDS = 30.0  # a bound for a test that hangs, never a measure

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go. The child finds the fake server first."""
    folder = tmp_path / "t"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    path = [str(HERE / "fake_server"), str(HERE), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    monkeypatch.setenv("FAKE_REQUESTS", "1")
    monkeypatch.setenv("PIXWIRE_LISTEN", "nonsense:of:the:user")
    return folder


def alive(pid: int) -> bool:
    """Whether a process is there, and not only its entry that nobody asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Any) -> None:
    """Waits for what another process does."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def pid_of(entered: Any) -> int:
    process = entered._server._process
    assert process is not None
    return int(process.pid)


async def test_with(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = pixwire.embedded()
    with made as client:
        assert isinstance(client, pixwire.Client)
        pid = pid_of(made)
        assert alive(pid)
        (folder,) = home.iterdir()
        assert folder.stat().st_mode & 0o077 == 0, "nobody else may enter"
        image = client.generate("red")
        assert image.media_type == "image/png"
    assert not alive(pid)
    assert list(home.iterdir()) == []
    line = capsys.readouterr().err
    assert line.startswith(f"pixwire: embedded server in process {pid}, the built-in model; without a journal, jobs ")
    assert line.count("\n") == 1


async def test_async_with(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "journal"
    made = pixwire.embedded(journal=journal)
    async with made as client:
        assert isinstance(client, pixwire.AsyncClient)
        pid = pid_of(made)
        assert (await client.generate("red")).media_type == "image/png"
    assert not alive(pid)
    assert list(home.iterdir()) == []
    assert journal.is_dir(), "that one is kept"
    assert f"jobs and images are kept in {journal}" in capsys.readouterr().err


async def test_quietly_and_with_options(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pixwire.embedded("a-model", server={"device": "cuda"}, quiet=True, on_disconnect="fail") as client:
        assert client.connected
        (folder,) = home.iterdir()
        arguments = Path(f"/proc/{_server_in(folder)}/cmdline").read_text().split("\0")
        assert arguments[arguments.index("--model") + 1] == "a-model"
        assert arguments[arguments.index("--device") + 1] == "cuda"
        assert f"pixwire+unix://{folder}/s" in arguments
    assert capsys.readouterr().err == ""


def _server_in(folder: Path) -> str:
    """The process whose command line names the folder."""
    mine = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and entry.name != str(os.getpid()) and str(folder) in _command(entry)
    ]
    assert len(mine) == 1, mine
    return mine[0]


def _command(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""


async def test_without_the_server(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(pixwire.EmbeddedError, match="pip install pixwire-server"), pixwire.embedded():
        pass
    assert list(home.iterdir()) == []


async def test_a_server_that_does_not_start(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "no start")
    said = "the embedded server did not start; its last words: the model folder is empty"
    with pytest.raises(pixwire.EmbeddedError, match=said), pixwire.embedded():
        pass
    assert list(home.iterdir()) == []


async def test_a_server_that_is_never_ready(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "hang")
    monkeypatch.setattr(module, "START_SECONDS", 1.0)
    with pytest.raises(pixwire.EmbeddedError, match="was not ready after 1 s"), pixwire.embedded():
        pass
    assert list(home.iterdir()) == []


async def test_a_start_that_is_cancelled(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("FAKE_BEHAVIOUR", "hang")
    made = pixwire.embedded()
    task = asyncio.ensure_future(made.__aenter__())
    while made._server._process is None:  # noqa: ASYNC110 - a thread sets it
        await asyncio.sleep(0.01)
    pid = pid_of(made)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(pid)
    assert list(home.iterdir()) == []


async def test_options_of_the_client_are_checked(home: Path) -> None:
    with pytest.raises(pixwire.InvalidArgument), pixwire.embedded(on_disconnect="sulk"):
        pass
    assert list(home.iterdir()) == []


async def test_again_and_not_twice() -> None:
    made = pixwire.embedded(quiet=True)
    for _ in range(2):
        with made as client:
            assert client.connected
            with pytest.raises(pixwire.EmbeddedError, match="runs already"), made:
                pass


PARENT = """
import os, sys, time
import pixwire
made = pixwire.embedded(quiet=True)
client = made.__enter__()
client.generate("red")
print(made._server._process.pid, flush=True)
{then}
"""


FOR_EVER = "while True: time.sleep(0.05)"  # a signal that comes just before a sleep does not end that one


@pytest.mark.parametrize(
    ("then", "kill"),
    [
        (FOR_EVER, signal.SIGKILL),
        (FOR_EVER, signal.SIGTERM),
        (FOR_EVER, signal.SIGINT),
        ("os._exit(0)", None),
        ("sys.exit(0)", None),
    ],
    ids=["killed", "terminated", "interrupted", "gone", "ended without closing"],
)
async def test_however_the_parent_ends(home: Path, then: str, kill: signal.Signals | None) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", PARENT.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if kill is not None:
            assert alive(pid)
            parent.send_signal(kill)
        try:
            parent.wait(SECONDS)
        finally:
            parent.kill()
    until(lambda: not alive(pid))
    until(lambda: list(home.iterdir()) == [])


async def test_a_child_lets_go_of_it(home: Path) -> None:
    """A process that was forked off does not stop the server of its parent."""
    server = Server(None, None, {})
    server.start()
    try:
        process = server._process
        assert process is not None
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert alive(process.pid)
        assert list(home.iterdir()) != [], "its folder is the parent's, too"
    finally:
        server.stop()
    assert not alive(process.pid)


async def test_a_long_name_of_the_temporary_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of a Unix socket has room for about a hundred bytes."""
    deep = home / ("d" * 120)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    folder = module._short_folder()
    try:
        assert len(os.fsencode(folder / "s")) <= module.MOST_PATH_BYTES
        assert list(deep.iterdir()) == []
    finally:
        folder.rmdir()


async def test_no_room_for_a_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no folder to remove either: not the one in which the program happens to be."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work").touch()
    monkeypatch.chdir(mine)
    monkeypatch.setattr("tempfile.tempdir", str(home / "nowhere"))
    server = Server(None, None, {})
    with pytest.raises(FileNotFoundError):
        server.start()
    server.stop()
    assert os.listdir(mine) == ["work"]


async def test_a_folder_with_a_strange_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="50%20 #", dir="/tmp") as strange:  # short, for a socket is to be in it
        monkeypatch.setattr("tempfile.tempdir", strange)
        with pixwire.embedded(quiet=True):
            (folder,) = Path(strange).iterdir()
            arguments = Path(f"/proc/{_server_in(folder)}/cmdline").read_text().split("\0")
            assert parse_url(arguments[arguments.index("--listen") + 1]).path == f"{folder}/s"


async def test_a_program_with_a_thousand_open_files() -> None:
    """`select` knows no file above number 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 2048)), hard))
    files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        with pixwire.embedded(quiet=True) as client:
            assert client.connected
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_start_that_is_cancelled_before_it_begins(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """All threads are busy; when one is free nobody wants a server any more, and none is waited for."""
    monkeypatch.setenv("FAKE_BEHAVIOUR", "hang")
    monkeypatch.setattr(module, "START_SECONDS", SECONDS)
    busy = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    holding = asyncio.ensure_future(asyncio.to_thread(busy.wait))
    made = pixwire.embedded()
    task = asyncio.ensure_future(made.__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    start = time.monotonic()
    busy.set()
    await holding
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - start < SECONDS / 2
    assert list(home.iterdir()) == []


async def test_nobody_reads_the_line(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stderr", stream)
        with pixwire.embedded() as client:
            assert client.connected
        assert list(home.iterdir()) == []
