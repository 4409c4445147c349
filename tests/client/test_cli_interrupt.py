"""Ctrl-C in every command: one line that says what goes on, exit code 130, and nothing left behind."""

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command
from scripted_server import ScriptedServer

from pixwire_protocol.messages import Watch

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
