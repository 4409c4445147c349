"""Ctrl-C in every command: one line that says what goes on, exit code 130, and nothing left behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command
from scripted_server import ScriptedServer

from pixwire_protocol.messages import Cancel, Submit, Watch

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])

COMMANDS = ("generate x", "submit x", "status j", "watch j", "cancel j", "fetch j", "models", "jobs", "ping")


@pytest.mark.parametrize("command", COMMANDS)
async def test_while_connecting(server: ScriptedServer, tmp_path: Path, command: str) -> None:
    """A server that takes the connection and says nothing."""
    server.mute = True
    running = await Command.start(*command.split(), cwd=tmp_path, url=server.url)
    peer = await server.arrived.get()
    running.interrupt()
    ended = await running.end()
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.startswith("pixwire: interrupted")
    assert ended.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    await peer.gone


SLOW_TO_LOAD = """
import os, signal, sys

class Interrupting:  # Ctrl-C comes when the command line begins to load
    def find_spec(self, name, *rest):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from pixwire.cli import main
sys.exit(main(["models"]))
"""


async def test_while_modules_are_loaded() -> None:
    ended = subprocess.run([sys.executable, "-c", SLOW_TO_LOAD], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "pixwire: interrupted\n")


@pytest.mark.parametrize("command", ["watch", "fetch"])
async def test_while_waiting_for_a_job(server: ScriptedServer, tmp_path: Path, command: str) -> None:
    running = await Command.start(command, "j-1", cwd=tmp_path, url=server.url)
    request = await server.next(Watch)
    request.accept("running")
    running.interrupt()
    ended = await running.end()
    assert ended.code == 130
    assert ended.err.endswith("pixwire: interrupted; job j-1 goes on, pixwire cancel ends it\n")
    assert server.requests.empty(), "nobody asked for its end"


@pytest.mark.parametrize("prompts", [["x"], ["x", "y"]], ids=["one job", "two jobs"])
async def test_again_while_the_job_is_being_cancelled(
    server: ScriptedServer, tmp_path: Path, prompts: list[str]
) -> None:
    """The server never answers the cancellation: the second Ctrl-C ends the waiting and still says which job it was."""
    running = await Command.start("generate", *prompts, cwd=tmp_path, url=server.url)
    requests = [await server.next(Submit) for _ in prompts]
    for request in requests:
        request.accept("running")
    running.interrupt()
    for _ in prompts:
        await server.next(Cancel)
    running.interrupt()
    ended = await running.end()
    assert ended.code == 130
    left = f"job {requests[0].job} may be going on" if len(prompts) == 1 else "2 jobs may be going on"
    assert ended.err.splitlines()[-1] == f"pixwire: interrupted; {left}"
    assert "Traceback" not in ended.err
